"""`cotasp prompt RUN "sentence"`: what a run makes of a sentence."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cotasp.commands._common import add_recall_argument, add_verb, set_threads

if TYPE_CHECKING:
    from cotasp.continual.opened import PromptFacts

NEAREST = 5  # tasks that are shown
EXAMPLES = """examples:
  cotasp prompt runs/smoke-seed0 "Move the car to the right."
  cotasp prompt runs/smoke-seed0 "Go left" --recall exact --json
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments to the command line's verbs."""
    sub = add_verb(subparsers, "prompt", "Say what a run makes of a sentence.", EXAMPLES)
    sub.add_argument("dir", metavar="DIR", help="run directory")
    sub.add_argument("text", metavar="SENTENCE", help='as "Close the window."')
    add_recall_argument(sub)
    sub.add_argument("--json", action="store_true", help="print all facts as JSON")


def main(arguments: argparse.Namespace) -> None:
    """Prints the facts of a sentence."""
    from cotasp.prompting.texts import checked_texts
    from cotasp.storage.rundir import RunDirectory

    checked_texts("prompt", [arguments.text])  # what is wrong is told before torch is imported
    RunDirectory.open(arguments.dir)
    set_threads()
    from cotasp.continual.opened import open_run

    facts = open_run(arguments.dir, arguments.recall).prompt(arguments.text)
    print(json.dumps(asdict(facts), indent=1) if arguments.json else described(facts))


def described(facts: PromptFacts) -> str:
    """The facts as a table and a sentence."""
    rows = facts.nearest[:NEAREST]
    width = max(len("task"), *(len(row.name) for row in rows))
    lines = [f"{'task':<{width}}  score  similarity  overlap  text"]
    lines += [
        f"{row.name:<{width}}  {row.score:5.2f}  {row.similarity:10.2f}  {row.overlap:7.2f}  "
        f"{row.text}"
        for row in rows
    ]
    layers = ", ".join(f"{x.active} of {x.width} ({x.owned} owned)" for x in facts.layers)
    lines.append(f"neurons per layer: {layers}")
    outcome = {
        "known": f"known: it was taught, and gets the policy of {facts.task}",
        "paraphrase": f"paraphrase: it gets the policy of {facts.task}",
        "ambiguous": "ambiguous: it may mean one of several tasks; "
        "it gets the policy of its own prompt, which nobody has trained",
        "new": "new: it gets the policy of its own prompt, which nobody has trained",
    }
    lines.append(outcome[facts.verdict])
    return "\n".join(lines)
