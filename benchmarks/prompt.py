"""How long a whole prompt takes, and what the end of a task costs.

    python benchmarks/prompt.py [--quick] [--json FILE]      (ten minutes)

The ten texts of Continual World under four dictionaries of 1,024 atoms, as in the paper, one
thread.  Each text's prompt is computed by the default solver; then a tenth of its neurons is
switched off, as training might, and the task ends with each update rule.  Times are CPU times per
task for all four layers: the median, for prompts the slowest of the ten, for updates the last.

Then the anchored update of one layer when many texts are remembered, up to 1,000 made of verbs,
objects and places: each with its lasso as code, before three tasks with trained codes end.
`recall` is the mean Jaccard of the text's mask and the remembered one afterwards, over all texts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from _machine import machine

from cotasp.dictionaries import Dictionary, sparse_encode
from cotasp.dictionaries.diagnostics import jaccard
from cotasp.dictionaries.updates import Anchored, Frozen, Online
from cotasp.prompting.encoders import SBERT
from cotasp.prompting.prompter import Prompter
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.tasks.texts import CW10, TEXTS

RULES = {"frozen": Frozen(), "online": Online(), "anchored": Anchored()}
VERBS = [
    "Push",
    "Pull",
    "Lift",
    "Lower",
    "Rotate",
    "Slide",
    "Grasp",
    "Release",
    "Press",
    "Open",
    "Close",
    "Insert",
    "Take",
]
THINGS = [
    "mug",
    "puck",
    "drawer",
    "window",
    "door",
    "lever",
    "button",
    "box",
    "peg",
    "nut",
    "handle",
    "faucet",
    "plate",
    "stick",
    "lid",
]
PLACES = [
    "gently",
    "to the left",
    "to the right",
    "near the shelf",
    "on the table",
    "behind the wall",
]
HIDDEN = (1024, 1024, 1024, 1024)
Result = TypeVar("Result")


def timed(work: Callable[..., Result], *arguments: object) -> tuple[float, Result]:
    """CPU time of a call in milliseconds, and what it returned."""
    started = time.process_time()
    result = work(*arguments)
    return 1e3 * (time.process_time() - started), result


def end_task(prompter: Prompter, embedding: torch.Tensor, code: torch.Tensor) -> None:
    """The update of all layers, without the diagnostics of `Prompter.end_task`."""
    coding = prompter.coding
    for dictionary, part in zip(prompter.dictionaries, code.double().split(prompter.hidden)):
        coding.update(dictionary, embedding.double(), part, lmbda=coding.lmbda)


def measure(rule: str, lmbda: float, embeddings: torch.Tensor) -> dict[str, float | str]:
    """One pass over the tasks under one rule."""
    coding = SparseCoding(lmbda=lmbda, update=RULES[rule])
    prompter = Prompter(coding, HIDDEN, embeddings.shape[1])
    generator = torch.Generator().manual_seed(0)
    prompts, updates = [], []
    for embedding in embeddings:
        spent, code = timed(prompter, embedding)
        prompts.append(spent)
        code = code * (torch.rand(code.shape, generator=generator) > 0.1)
        updates.append(timed(end_task, prompter, embedding, code)[0])
    return {
        "rule": rule,
        "lmbda": lmbda,
        "prompt": median(prompts),
        "slowest_prompt": max(prompts),
        "update": median(updates),
        "last_update": updates[-1],
    }


def sentences() -> list[str]:
    """1,000 different instructions, in an order of no meaning."""
    texts = [
        f"{verb} the {thing} {place}." for verb, thing, place in product(VERBS, THINGS, PLACES)
    ]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    return [texts[i] for i in order[:1000]]


def growth(embeddings: torch.Tensor, remembered: int, lmbda: float) -> dict[str, float]:
    """The anchored update when so many texts are remembered."""
    dictionary = Dictionary(HIDDEN[0], embeddings.shape[1])
    generator = torch.Generator().manual_seed(0)

    def codes(rows: torch.Tensor) -> torch.Tensor:
        return sparse_encode(rows, dictionary.atoms, lmbda=lmbda, solver="fista").code

    earlier, later = embeddings[:remembered], embeddings[remembered - 3 : remembered]
    for embedding, code in zip(earlier[:-3], codes(earlier[:-3])):
        dictionary.record(embedding, code)
    spent = []
    for embedding in later:
        code = codes(embedding[None])[0]
        code = code * (torch.rand(code.shape, generator=generator) > 0.1)
        update = partial(Anchored(), dictionary, embedding, code, lmbda=lmbda)
        spent.append(timed(update)[0] / 1e3)
    recall = jaccard(codes(dictionary.embeddings) > 0, dictionary.codes > 0)
    row = {"lmbda": lmbda, "remembered": remembered, "median_s": median(spent)}
    return row | {"slowest_s": max(spent), "recall": float(recall.mean())}


def main() -> None:
    """Prints and optionally writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="< 1 minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = machine()
    embeddings = SBERT().prepare([TEXTS[task] for task in CW10])([TEXTS[task] for task in CW10])
    Prompter(SparseCoding(), (64,), embeddings.shape[1])(embeddings)  # imports happen here
    rows = []
    for lmbda in (0.03, 1e-3) if options.quick else (0.1, 0.03, 0.01, 1e-3):
        for rule in RULES:
            if options.quick and rule == "anchored" and lmbda < 0.03:
                continue
            row = measure(rule, lmbda, embeddings)
            if not rows:
                print("  ".join(f"{name:>14}" for name in row) + "   (ms)")
            print("  ".join(f"{v:>14.5g}" if n != "rule" else f"{v:>14}" for n, v in row.items()))
            rows.append(row)
    print("\nanchored, one layer of 1,024 atoms")
    many, cost = SBERT()(sentences()).double(), []
    sizes = {0.1: (10, 100, 300, 1000), 0.03: (10, 100, 300)}
    for lmbda in sizes:
        for remembered in sizes[lmbda][: 2 if options.quick else None]:
            cost.append(growth(many, remembered, lmbda))
            print("  ".join(f"{name} {value:.4g}" for name, value in cost[-1].items()), flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"machine": facts, "rows": rows, "growth": cost}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
