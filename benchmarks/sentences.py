"""Which task does a sentence mean, and is it said when that is not clear?

    python benchmarks/sentences.py [--json FILE]   (ten minutes, with the language model)

Recall policies are asked for phrasings that were not taught, of Continual World's ten tasks and of
the opposites:

tuned    the taught ones of cotasp/tasks/phrasings.json, each left out in turn, and the held-out
         ones; `margin` and `posterior` were chosen with them
fresh    those of sentences_fresh.json; new to `margin`, but `posterior` was chosen with them, too
fresh 2  those of sentences_fresh2.json, written before `posterior` and asked once; then its two
         thresholds were chosen anew
fresh 3  those of sentences_fresh3.json, written before that and asked once, afterwards; of 2 and 3,
         sentences that are among the earlier ones word for word are left out
fresh 4  those of sentences_fresh4.json, written afterwards by someone who knew none of the others,
         asked once; nothing was chosen with them

Tasks that are known: the opposites (14), Continual World's ten, all fifty, three.

answered   share of sentences called a paraphrase
right      share of those that were given their own task
new        share of sentences about other things that are given no task: the 200 of
           instructions.txt, of which some are about such tasks as well, and 30 with each fresh set
others     share of sentences of fresh 4 about tasks that are not known that are given no task
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _machine import commit, machine

from cotasp.prompting.encoders import SBERT, Encoder
from cotasp.prompting.posterior import Posterior
from cotasp.prompting.recall import Margin, Nearest, RecallPolicy
from cotasp.prompting.texts import normal_form
from cotasp.tasks.texts import CW10, TEXTS, phrasings

OPPOSITES = [
    f"{thing}-{verb}-v3"
    for thing in ("window", "faucet", "drawer", "door")
    for verb in ("close", "open")
] + ["door-lock-v3", "door-unlock-v3"]
OPPOSITES += [f"handle-{verb}{side}-v3" for side in ("", "-side") for verb in ("press", "pull")]
THREE = ["window-close-v3", "door-close-v3", "drawer-close-v3"]
SETS = {"opposites": OPPOSITES, "cw10": list(CW10), "all 50": list(TEXTS), "three": THREE}
POLICIES: dict[str, RecallPolicy] = {
    "nearest 0.8": Nearest(),
    "margin": Margin(),
    "posterior": Posterior(),
}


def read(name: str) -> dict[str, Any]:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


FRESH = [read(f"sentences_fresh{number}.json") for number in ("", "2", "3", "4")]
LABELS = ("fresh", "fresh 2", "fresh 3", "fresh 4")
asked_before = {
    normal_form(text)
    for task in TEXTS
    for text in (TEXTS[task], *phrasings(task), *phrasings(task, "held_out"))
}
for fresh_set in FRESH:
    for task, texts in fresh_set["phrasings"].items():
        if fresh_set is not FRESH[0]:
            fresh_set["phrasings"][task] = [x for x in texts if normal_form(x) not in asked_before]
        asked_before.update(map(normal_form, texts))


def tuned(policy: RecallPolicy, tasks: list[str], encoder: Encoder) -> tuple[float, float]:
    """Share answered, and of those right, of the sentences that the policies were tuned with."""
    pairs, texts = [], {task: (TEXTS[task], *phrasings(task)) for task in TEXTS}
    for left_out in (1, 2, 3):
        rest = {t: tuple(x for i, x in enumerate(row) if i != left_out) for t, row in texts.items()}
        known = [rest[task] for task in tasks]
        without = policy
        if isinstance(policy, (Margin, Posterior)):
            without = replace(policy, corpus=tuple(rest.values()))
        asked = [(i, texts[task][left_out]) for i, task in enumerate(tasks)]
        pairs += [(i, without(text, known, encoder).task) for i, text in asked]
    asked = [(i, text) for i, task in enumerate(tasks) for text in phrasings(task, "held_out")]
    return shares(pairs + answers(policy, tasks, asked, encoder))


def fresh(
    policy: RecallPolicy, tasks: list[str], encoder: Encoder, written: dict[str, list[str]]
) -> tuple[float, float, float]:
    """The same of fresh sentences, and the share of those about other tasks that get no task."""
    asked = [(i, text) for i, task in enumerate(tasks) for text in written.get(task, ())]
    others = [text for task, texts in written.items() if task not in tasks for text in texts]
    share, right = shares(answers(policy, tasks, asked, encoder))
    return share, right, refused(policy, tasks, encoder, others) if others else 1.0


def answers(
    policy: RecallPolicy, tasks: list[str], asked: list[tuple[int, str]], encoder: Encoder
) -> list[tuple[int, int | None]]:
    taught = [(TEXTS[task], *phrasings(task)) for task in tasks]
    return [(i, policy(text, taught, encoder).task) for i, text in asked]


def shares(pairs: list[tuple[int, int | None]]) -> tuple[float, float]:
    answered = [(wanted, got) for wanted, got in pairs if got is not None]
    right = sum(wanted == got for wanted, got in answered)
    return len(answered) / len(pairs), right / max(1, len(answered))


def refused(policy: RecallPolicy, tasks: list[str], encoder: Encoder, texts: list[str]) -> float:
    """Share of sentences about other things that are given no task."""
    given = answers(policy, tasks, [(0, text) for text in texts], encoder)
    return sum(task is None for _, task in given) / len(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts, encoder, rows = machine("sentence-transformers"), SBERT(), []
    lines = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8").splitlines()
    others = [line.split(" | ")[0] for line in lines if not line.startswith("#")]
    sizes = [sum(map(len, each["phrasings"].values())) for each in FRESH]
    print("phrasings of the fresh sets:", *sizes)
    print(
        "tasks      policy       tuned       fresh       fresh 2     fresh 3     fresh 4     new"
        "                       others"
    )
    for label, tasks in SETS.items():
        for name, policy in POLICIES.items():
            pairs = [tuned(policy, tasks, encoder)]
            for each in FRESH:
                *pair, near = fresh(policy, tasks, encoder, each["phrasings"])
                pairs.append((pair[0], pair[1]))
            new = [
                refused(policy, tasks, encoder, texts)
                for texts in (others, *(each["unknown"] for each in FRESH))
            ]
            shown = "  ".join(f"{a:.2f} {b:.2f}" for a, b in pairs)
            new_shown = " ".join(f"{share:.2f}" for share in new)
            print(f"{label:<10} {name:<11}  {shown}   {new_shown}  {near:.2f}", flush=True)
            row = dict(zip(("tuned", *LABELS), pairs))
            row |= {"tasks": label, "policy": name, "new": new, "others": near}
            rows.append(row)
    if options.json:
        report = {"machine": facts, "commit": commit(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
