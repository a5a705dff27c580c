"""`cotasp export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotasp.commands._common import add_recall_argument, add_verb, set_threads

EXAMPLES = """examples:
  cotasp export runs/smoke-seed0 --task right --out right.pt2
  cotasp export runs/smoke-seed0 --text "Park the car on the right." --out right.onnx
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Write the policy of a task or of a sentence for use without this package."
    parser = add_verb(subparsers, "export", help, EXAMPLES)
    parser.add_argument("dir", metavar="DIR", help="run directory")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--task", metavar="NAME", help="as in the run's table")
    which.add_argument("--text", metavar="SENTENCE", help='as "Close the window."')
    parser.add_argument("--out", required=True, metavar="FILE", help="NAME.pt2 or NAME.onnx")
    add_recall_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Writes the file."""
    from cotasp.prompting.texts import checked_texts
    from cotasp.storage.rundir import RunDirectory
    from cotasp.targets import EXPORTS, check_file

    if arguments.text is not None:
        checked_texts("export", [arguments.text])
    RunDirectory.open(arguments.dir)  # what is wrong with it is said before torch is imported
    check_file(arguments.out, EXPORTS)
    set_threads()
    from cotasp.continual.exporting import export
    from cotasp.continual.opened import open_run

    run = open_run(arguments.dir, arguments.recall)
    network, task = export(run, arguments.out, text=arguments.text, task=arguments.task)
    size = Path(arguments.out).stat().st_size / 1e3
    repeat = run.recipe.stream.action_repeat
    held = f", each held for {repeat} steps" if repeat > 1 else ""
    of = f"policy of {task.name}" if task else "a policy that nobody has trained"
    if task and run.tasks.index(task) not in run.finished:
        of += ", which is not finished"
    observed = network.body.in_features - len(run.tasks[0].mark)
    print(
        f"done: {arguments.out}, {size:,.0f} kB: {of}; hidden layers of {list(network.hidden)}, "
        f"observation [n, {observed}] to action [n, {network.action_dim}] in the "
        f"environment's own range{held}"
    )
