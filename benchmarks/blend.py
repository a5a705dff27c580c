"""Do words beside the sentence embedding keep opposites from sharing neurons?

    python benchmarks/blend.py [--json FILE]                       (a minute)

Masks of the lasso of Meta-World's opposites (seven pairs of texts) under one dictionary of 1,024
random atoms, for all-MiniLM-L6-v2 and TF-IDF side by side with weights 1 - w and w of the squared
length.  Mean Jaccard index of opposites' masks and of all other pairs', three dictionaries.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from _machine import commit, machine
from sentences import OPPOSITES
from torch import Tensor

from cotasp.dictionaries import Dictionary, sparse_encode
from cotasp.dictionaries.diagnostics import jaccard
from cotasp.prompting.encoders import SBERT, TfIdf
from cotasp.tasks.texts import TEXTS


def overlaps(rows: Tensor, lmbda: float, opposite: Tensor) -> tuple[float, float, float]:
    """Mean overlap of opposites and of other pairs, and the share of active neurons."""
    found = []
    for seed in range(3):
        atoms = Dictionary(1024, rows.shape[1], seed=seed).atoms
        masks = sparse_encode(rows, atoms, lmbda=lmbda).code > 0
        pairs = jaccard(masks[:, None], masks[None])
        others = ~opposite & ~torch.eye(len(rows), dtype=torch.bool)
        found.append((pairs[opposite].mean(), pairs[others].mean(), masks.double().mean()))
    same, other, active = (float(sum(column)) / 3 for column in zip(*found))
    return same, other, active


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts, rows = machine("sentence-transformers"), []
    texts = [TEXTS[name] for name in OPPOSITES]  # neighbours are opposites
    place = torch.arange(len(texts)) // 2
    opposite = (place[:, None] == place) & ~torch.eye(len(texts), dtype=torch.bool)
    sentences = SBERT()(texts).double()
    words = TfIdf().prepare(list(TEXTS.values()))(texts).double()
    print("lambda    w  cosine  opposites  others  active")
    for lmbda in (0.1, 0.03):
        for weight in (0.0, 0.4, 0.7):
            joined = torch.cat([sentences * (1 - weight) ** 0.5, words * weight**0.5], dim=1)
            vectors = joined if weight else sentences
            cosine = float((vectors @ vectors.mT)[opposite].mean())
            same, other, active = overlaps(vectors, lmbda, opposite)
            print(
                f"{lmbda:6}  {weight:.1f}  {cosine:6.2f}  {same:9.3f}  {other:6.3f}  {active:.3f}"
            )
            row = {"lambda": lmbda, "w": weight, "cosine": cosine, "opposites": same}
            rows.append(row | {"others": other, "active": active})
    if options.json:
        report = {"machine": facts, "commit": commit(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
