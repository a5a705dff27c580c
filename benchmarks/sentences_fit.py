"""The numbers of the recall policy `posterior`, by maximum likelihood.

    python benchmarks/sentences_fit.py             (ten minutes, with the language model)

A conditional logit of the task, on the sentences of benchmarks/sentences.py that are not of the
second fresh set, asked where the opposites, Continual World's ten and all fifty tasks are known;
and a logistic regression that tells these sentences from those about other things, by the evidence
for the likeliest task.  Each set of known tasks weighs the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from sentences import FRESH, SETS, TEXTS
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cotasp.prompting.encoders import SBERT
from cotasp.prompting.posterior import Posterior
from cotasp.tasks.texts import phrasings


def examples(tasks: list[str]) -> list[tuple[Tensor, int]]:
    """Evidence [tasks, 3] of sentences, and the place of their task; -1: about other things."""
    policy, encoder = Posterior(), SBERT()
    texts = {task: (TEXTS[task], *phrasings(task)) for task in TEXTS}
    lines = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8").splitlines()
    others = [line.split(" | ")[0] for line in lines if not line.startswith("#")]
    found = []
    for left_out in (1, 2, 3):
        rest = {t: tuple(x for i, x in enumerate(row) if i != left_out) for t, row in texts.items()}
        without = replace(policy, corpus=tuple(rest.values()))
        known = [rest[task] for task in tasks]
        for i, task in enumerate(tasks):
            found.append((without.evidence(texts[task][left_out], known, encoder), i))
    asked = [
        (text, i)
        for i, task in enumerate(tasks)
        for text in (*phrasings(task, "held_out"), *FRESH["phrasings"].get(task, ()))
    ]
    asked += [(text, -1) for text in (*others, *FRESH["unknown"])]
    known = [texts[task] for task in tasks]
    found += [(policy.evidence(text, known, encoder), i) for text, i in asked]
    return [(torch.stack(evidence, dim=1), i) for evidence, i in found]


def least(loss: Callable[[Tensor], Tensor], n: int) -> Tensor:
    """The n weights at which a convex loss is least."""
    weights = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(weights)
        value.backward()
        return value

    optimiser.step(closure)
    return weights.detach()


def main() -> None:
    torch.set_num_threads(1)
    sets = [examples(SETS[name]) for name in ("opposites", "cw10", "all 50")]

    def surprise(weights: Tensor) -> Tensor:
        losses = [
            torch.stack([cross_entropy(e @ weights, torch.tensor(i)) for e, i in rows if i >= 0])
            for rows in sets
        ]
        return torch.stack([loss.mean() for loss in losses]).sum()

    weights = least(surprise, 3)
    print("normalised, plain, words:", [round(x, 2) for x in weights.tolist()])
    likeliest = [torch.stack([e[int((e @ weights).argmax())] for e, _ in rows]) for rows in sets]
    for best in likeliest:
        best[:, 2] = 1.0
    own = [torch.tensor([float(i >= 0) for _, i in rows], dtype=torch.float64) for rows in sets]

    def mistaken(weights: Tensor) -> Tensor:
        pairs = zip(likeliest, own)
        losses = [binary_cross_entropy_with_logits(best @ weights, y) for best, y in pairs]
        return torch.stack(losses).sum()

    weights = least(mistaken, 3)
    print("familiar: normalised, plain, constant:", [round(x, 2) for x in weights.tolist()])


if __name__ == "__main__":
    main()
