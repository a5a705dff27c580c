"""Which task does a sentence mean, and is it said when that is not clear?

    python benchmarks/sentences.py [--json FILE]      (a minute, with the language model)

Every recall policy is asked for the phrasings of cotasp/tasks/phrasings.json: `tuned` are the
taught ones, each left out in turn; `held out` those never taught.  Margin and weight of words were
chosen on the first, of all fifty tasks; the form of the score with both at hand, so the held-out
figures confirm nothing: that takes phrasings that nobody has seen.
Tasks: the opposites (14), Continual World's ten, all fifty.

answered   share of sentences called a paraphrase
right      share of those that were given their own task
new        share of 200 other instructions, of other things, that are called new or ambiguous
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from _machine import commit, machine

from cotasp.prompting.encoders import SBERT, Encoder
from cotasp.prompting.recall import Margin, Nearest, RecallPolicy
from cotasp.tasks.texts import CW10, TEXTS, phrasings

OPPOSITES = [
    f"{thing}-{verb}-v3"
    for thing in ("window", "faucet", "drawer", "door")
    for verb in ("close", "open")
] + ["door-lock-v3", "door-unlock-v3"]
OPPOSITES += [f"handle-{verb}{side}-v3" for side in ("", "-side") for verb in ("press", "pull")]
SETS = {"opposites": OPPOSITES, "cw10": list(CW10), "all 50": list(TEXTS)}
POLICIES: dict[str, RecallPolicy] = {
    "nearest 0.8": Nearest(),
    "nearest 0.7": Nearest(0.7),
    "margin, no words": Margin(words=0.0),
    "margin": Margin(),
    "margin 0.02": Margin(margin=0.02),
    "words 0.02": Margin(words=0.02),
}


def held_out(policy: RecallPolicy, tasks: list[str], encoder: Encoder) -> tuple[float, float]:
    """Share answered, and of those right, of phrasings that were not taught."""
    taught = [(TEXTS[task], *phrasings(task)) for task in tasks]
    asked = [(i, text) for i, task in enumerate(tasks) for text in phrasings(task, "held_out")]
    return shares([(i, policy(text, taught, encoder).task) for i, text in asked])


def tuned(policy: RecallPolicy, tasks: list[str], encoder: Encoder) -> tuple[float, float]:
    """The same of taught phrasings, each left out in turn of all tasks' texts."""
    pairs = []
    for left_out in range(3):
        texts = [(TEXTS[task], *phrasings(task)) for task in tasks]
        rest = [row[: left_out + 1] + row[left_out + 2 :] for row in texts]
        pairs += [(i, policy(row[left_out + 1], rest, encoder).task) for i, row in enumerate(texts)]
    return shares(pairs)


def shares(pairs: list[tuple[int, int | None]]) -> tuple[float, float]:
    answered = [(wanted, got) for wanted, got in pairs if got is not None]
    right = sum(wanted == got for wanted, got in answered)
    return len(answered) / len(pairs), right / max(1, len(answered))


def refused(policy: RecallPolicy, tasks: list[str], encoder: Encoder) -> float:
    """Share of sentences about other things that are given no task."""
    lines = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.split(" | ")[0] for line in lines if not line.startswith("#")]
    taught = [(TEXTS[task], *phrasings(task)) for task in tasks]
    return sum(policy(text, taught, encoder).task is None for text in texts) / len(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts, encoder, rows = machine("sentence-transformers"), SBERT(), []
    print(f"{'tasks':<10} {'policy':<18} tuned: answered right   held out: answered right     new")
    for label, tasks in SETS.items():
        for name, policy in POLICIES.items():
            figures = (*tuned(policy, tasks, encoder), *held_out(policy, tasks, encoder))
            new = refused(policy, tasks, encoder)
            a, b, c, d = figures
            print(
                f"{label:<10} {name:<18} {a:15.2f} {b:5.2f} {c:19.2f} {d:5.2f} {new:7.2f}",
                flush=True,
            )
            rows.append({"tasks": label, "policy": name, "figures": figures, "new": new})
    if options.json:
        report = {"machine": facts, "commit": commit(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
