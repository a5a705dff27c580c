"""What the end of a task costs when every task was taught several phrasings, and what is recalled.

    python benchmarks/phrasings.py [--texts N] [--tasks N] [--lmbda L]    (five minutes and more)

Meta-World's texts under one dictionary of 1,024 atoms: multiply by the layers of a prompt.  Each
task takes the lasso of its text, loses a tenth of its neurons, and ends with the anchored update.
Seconds are processor time of one thread.  `own`, `taught` and `other` are the mean Jaccard index of
the task's mask and the lasso's, for its own text, all taught ones and those not taught.
"""

from __future__ import annotations

import argparse
import time

import torch
from _machine import machine

from cotasp.dictionaries import Anchored, Dictionary, sparse_encode
from cotasp.dictionaries.diagnostics import jaccard
from cotasp.prompting.encoders import SBERT
from cotasp.tasks.texts import TEXTS, phrasings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=4, help="taught per task, 1 to 7")
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--lmbda", type=float, default=0.03)
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine("sentence-transformers")
    names = list(TEXTS)[: options.tasks]
    texts = [[TEXTS[n], *phrasings(n), *phrasings(n, "held_out")] for n in names]
    rows = SBERT()([text for task in texts for text in task]).double().reshape(len(names), 7, -1)
    dictionary, generator = Dictionary(1024, rows.shape[-1]), torch.Generator().manual_seed(0)
    masks = []
    for task, embeddings in enumerate(rows, start=1):
        code = sparse_encode(embeddings[:1], dictionary.atoms, lmbda=options.lmbda).code[0]
        code = code * (torch.rand(code.shape, generator=generator) > 0.1)
        masks.append(code > 0)
        begun = time.process_time()
        Anchored()(dictionary, embeddings[: options.texts], code, lmbda=options.lmbda)
        if task % 10 == 0 or task == len(names):
            seconds = time.process_time() - begun
            print(f"{task} tasks, {task * options.texts} texts: {seconds:.2f} s", flush=True)
    codes = sparse_encode(rows.flatten(0, 1), dictionary.atoms, lmbda=options.lmbda).code
    overlap = jaccard((codes > 0).reshape(*rows.shape[:2], -1), torch.stack(masks)[:, None])
    print(
        f"own {overlap[:, 0].mean():.4f}  taught {overlap[:, : options.texts].mean():.4f}", end=""
    )
    print(f"  other {overlap[:, options.texts :].mean():.4f}" if options.texts < 7 else "")


if __name__ == "__main__":
    main()
