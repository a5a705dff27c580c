"""`cotasp adapt RUN --env ENV`: how fast a run's network learns a task it has not seen."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from cotasp.commands._common import add_recall_argument, add_verb, set_threads

EXAMPLES = """examples:
  cotasp adapt runs/smoke-seed0 --env bottom --steps 1500 --baseline
  cotasp adapt runs/quickstart --env door-open-v3 --text "Open the door." --steps 20000
  cotasp adapt runs/slide --env Slope-v0 --text "Climb." --steps 9000 --return-range -60 0
The same command goes on where it was stopped.
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Learn one more task from what a run has learned, beside a fresh network."
    parser = add_verb(subparsers, "adapt", help, EXAMPLES)
    parser.add_argument("dir", metavar="DIR", help="run directory; it stays as it is")
    parser.add_argument("--env", required=True, metavar="ENV", help="environment of the new task")
    parser.add_argument("--text", metavar="SENTENCE", help="default: the shipped text")
    parser.add_argument("--steps", type=int, required=True, metavar="N", help="of the environment")
    judged = parser.add_mutually_exclusive_group()
    judged.add_argument(
        "--return-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="returns of an episode that count as 0 and as 1, in a Gymnasium environment that "
        "reports no success",
    )
    judged.add_argument(
        "--success-return",
        type=float,
        metavar="X",
        help="or the return from which an episode counts as solved",
    )
    parser.add_argument("--baseline", action="store_true", help="train a fresh network, too")
    parser.add_argument("--out", metavar="DIR", help="default: DIR-adapt-ENV")
    add_recall_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def main(arguments: argparse.Namespace) -> None:
    """Trains, and prints zero-shot success and how fast the task was learned."""
    from cotasp.prompting.texts import checked_texts
    from cotasp.storage.rundir import RunDirectory

    if arguments.text is not None:
        checked_texts("adapt", [arguments.text])
    directory = RunDirectory.open(arguments.dir)
    env = arguments.env.replace("/", "_")
    out = Path(arguments.out or f"{str(directory.path).rstrip('/')}-adapt-{env}")
    if not (out / "adapted").is_dir():  # else it may have been stopped, and goes on
        RunDirectory.check_free(out)
    set_threads(directory.threads())
    from cotasp.continual.adapting import RESULT, adapt
    from cotasp.registry import KINDS

    result = adapt(
        arguments.dir,
        arguments.env,
        out,
        text=arguments.text,
        steps=arguments.steps,
        success_return=arguments.success_return,
        return_range=None if arguments.return_range is None else tuple(arguments.return_range),
        baseline=arguments.baseline,
        recall=None if arguments.recall is None else KINDS["recall"].make(arguments.recall),
        progress=not arguments.quiet,
    )
    print(described(result))
    play = shlex.join(["cotasp", "play", str(out / "adapted"), "--task", result["name"]])
    print(f"done: {out / RESULT}; watch it: {play}")


def described(result: dict[str, Any]) -> str:
    """The result as a table."""
    means = f"means {result['task']}" if result["task"] else "means no finished task for sure"
    threshold = f"steps to {result['threshold']:g}"
    lines = [
        f"{result['verdict']}: {result['text']!r} {means}",
        f"zero-shot success {result['zero_shot']:.2f} by {result['recall']} recall, "
        f"{result['own_prompt']:.2f} by its own prompt",
        f"{'':<8}  at end   AUC  {threshold}",
    ]
    for name in ("adapted", "fresh"):
        if name in result:
            row = result[name]
            steps = row["steps_to_threshold"]
            needed = "not reached" if steps is None else f"{steps:,.0f}"
            lines.append(
                f"{name:<8}  {row['final']:6.2f}  {row['area_under_curve']:4.2f}"
                f"  {needed:>{len(threshold)}}"
            )
    return "\n".join(lines)
