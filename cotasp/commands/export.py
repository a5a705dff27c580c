"""`cotasp export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotasp.commands._common import add_verb, set_threads


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Write a task's policy for use without this package."
    parser = add_verb(subparsers, "export", help)
    parser.add_argument("dir", metavar="DIR", help="run directory")
    parser.add_argument("--task", required=True, metavar="NAME", help="as in the run's table")
    parser.add_argument("--out", required=True, metavar="FILE", help="NAME.pt2 or NAME.onnx")


def main(arguments: argparse.Namespace) -> None:
    """Writes the file."""
    from cotasp.storage.rundir import RunDirectory

    RunDirectory.open(arguments.dir)  # what is wrong with it is said before torch is imported
    set_threads()
    from cotasp.continual.saved import export_run

    network, task = export_run(arguments.dir, arguments.task, arguments.out)
    size = Path(arguments.out).stat().st_size / 1e3
    held = f", each held for {task.action_repeat} steps" if task.action_repeat > 1 else ""
    print(
        f"done: {arguments.out}, {size:,.0f} kB; hidden layers of {list(network.hidden)}, "
        f"observation [n, {network.body.in_features}] to action [n, {network.action_dim}]{held}"
    )
