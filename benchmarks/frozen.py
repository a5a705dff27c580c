"""Weights of a new task that are frozen before its training, by owners and by tasks.

    python benchmarks/frozen.py [--seeds N] [--drop F] [--json FILE]    (half a minute a seed)

The texts of CW10, four hidden layers of 1,024 units, nothing trained: every task takes the mask of
its prompt, loses a share of its units at random (what training can do to a clipped mask), ends, and
teaches the dictionaries.  Counted are the weights between two hidden layers that lie within the new
task's own mask (Eq. 4 of CoTASP, arXiv 2305.18444, freezes those whose ends are owned by anybody;
by tasks, those that one finished task uses).  Percentages are means over layers and seeds, with the
standard deviation of the seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from _machine import commit, machine

from cotasp.dictionaries import Anchored, Online
from cotasp.modules import LayerMasks, MetaPolicy, Ownership, Step, membership
from cotasp.prompting import SBERT, Prompter, SparseCoding
from cotasp.tasks import CW10

HIDDEN = (1024,) * 4
RULES = ("owners", "tasks")
METHODS = {
    "anchored, lambda 0.03": SparseCoding(update=Anchored(), lmbda=3e-2),
    "online, lambda 0.001": SparseCoding(update=Online(), lmbda=1e-3),
}


def frozen(coding: SparseCoding, seed: int, drop: float) -> list[dict[str, float]]:
    """Shares of each task's own hidden weights that are frozen as it begins, by rule."""
    torch.manual_seed(seed)
    texts = [task.text for task in CW10().make_tasks()]
    embeddings = SBERT()(texts)
    policy = MetaPolicy(39, 4, HIDDEN)
    masks, ownership = LayerMasks(Step(), HIDDEN), Ownership(len(texts), sum(HIDDEN))
    prompter = Prompter(coding, HIDDEN, embeddings.shape[1], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    between = [f"body.layers.{i}.weight" for i in range(1, len(HIDDEN))]
    shares = []
    for task, embedding in enumerate(embeddings):
        code = prompter(embedding)
        own = membership(policy, masks(code) > 0)
        guards = {by: ownership.guard(policy, by=by) for by in RULES}
        count = sum(int(own[name].sum()) for name in between)
        shares.append(
            {
                by: sum(int((own[name] & ~guard[name]).sum()) for name in between) / count
                for by, guard in guards.items()
            }
        )
        kept = torch.rand(code.shape, generator=generator) >= drop
        code = torch.where((code > 0) & ~kept, 0.0, code)
        ownership.claim(task, masks(code))
        prompter.end_task(embedding, code)
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--drop", type=float, default=0.1, help="of a mask's units, in [0, 1)")
    parser.add_argument("--json", type=Path, help="also write the figures to a file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = machine("sentence-transformers") | {"commit": commit()}
    table: dict[str, dict[str, list[list[float]]]] = {}
    for name, coding in METHODS.items():
        runs = [frozen(coding, seed, options.drop) for seed in range(options.seeds)]
        table[name] = {by: [[task[by] for task in run] for run in runs] for by in RULES}
        print(f"\n{name}: frozen of each task's own weights between hidden layers, %")
        for by, rows in table[name].items():
            each = torch.tensor(rows) * 100
            means = "".join(f"{value:5.0f}" for value in each.mean(0).tolist())
            spread = float(each[:, -1].std()) if options.seeds > 1 else 0.0
            print(f"  by {by:7}{means}   (the last +- {spread:.1f})", flush=True)
    if options.json:
        result = {"facts": facts, "seeds": options.seeds, "drop": options.drop, "frozen": table}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
