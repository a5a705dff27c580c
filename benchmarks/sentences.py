"""Which task does a sentence mean, and is it said when that is not clear?

    python benchmarks/sentences.py [--json FILE]      (five minutes, with the language model)

Every recall policy is asked for phrasings that were not taught: `tuned` are the taught ones of
cotasp/tasks/phrasings.json, each left out in turn, and the held-out ones there, with which the form
of the score and its settings were chosen; `fresh` those of sentences_fresh.json, written before
that and asked once, afterwards.  They are of Continual World's ten tasks and of the opposites.
Tasks that are known: the opposites (14), Continual World's ten, all fifty.

answered   share of sentences called a paraphrase
right      share of those that were given their own task
new        share of sentences about other things that are called new or ambiguous: the 200 of
           instructions.txt, of which some are about such tasks as well, and the 30 fresh ones
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
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
    "margin": Margin(),
    "margin, centred only": Margin(shrinkage=1.0),
    "margin, no words": Margin(words=0.0),
    "margin 0.01": Margin(margin=0.01),
    "margin 0.03": Margin(margin=0.03),
    "threshold 0.2": Margin(threshold=0.2),
    "threshold 0.5": Margin(threshold=0.5),
}
FRESH = json.loads(Path(__file__).with_name("sentences_fresh.json").read_text(encoding="utf-8"))


def tuned(policy: RecallPolicy, tasks: list[str], encoder: Encoder) -> tuple[float, float]:
    """Share answered, and of those right, of the sentences that the policies were tuned with."""
    pairs, texts = [], {task: (TEXTS[task], *phrasings(task)) for task in TEXTS}
    for left_out in (1, 2, 3):
        rest = {t: tuple(x for i, x in enumerate(row) if i != left_out) for t, row in texts.items()}
        known = [rest[task] for task in tasks]
        without = replace(policy, corpus=tuple(rest.values())) if type(policy) is Margin else policy
        asked = [(i, texts[task][left_out]) for i, task in enumerate(tasks)]
        pairs += [(i, without(text, known, encoder).task) for i, text in asked]
    asked = [(i, text) for i, task in enumerate(tasks) for text in phrasings(task, "held_out")]
    return shares(pairs + answers(policy, tasks, asked, encoder))


def fresh(policy: RecallPolicy, tasks: list[str], encoder: Encoder) -> tuple[float, float]:
    """The same of sentences that nobody had seen."""
    written = FRESH["phrasings"]
    asked = [(i, text) for i, task in enumerate(tasks) for text in written.get(task, ())]
    return shares(answers(policy, tasks, asked, encoder))


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
    print("tasks      policy                 tuned: answered right   fresh: answered right   new")
    for label, tasks in SETS.items():
        for name, policy in POLICIES.items():
            a, b = tuned(policy, tasks, encoder)
            c, d = fresh(policy, tasks, encoder)
            e, f = (refused(policy, tasks, encoder, x) for x in (others, FRESH["unknown"]))
            print(
                f"{label:<10} {name:<22} {a:15.2f} {b:5.2f} {c:17.2f} {d:5.2f}   {e:.2f} {f:.2f}",
                flush=True,
            )
            rows.append(
                {"tasks": label, "policy": name, "tuned": (a, b), "fresh": (c, d), "new": (e, f)}
            )
    if options.json:
        report = {"machine": facts, "commit": commit(), "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
