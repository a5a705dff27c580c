"""`cotasp resume`."""

from __future__ import annotations

import argparse
from typing import Any

from cotasp.commands._common import add_run_arguments, add_verb, print_result, set_threads


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Go on with a run that was stopped, from its checkpoint."
    parser = add_verb(subparsers, "resume", help)
    parser.add_argument("dir", metavar="DIR", help="run directory")
    add_run_arguments(parser, None, "as the run began, for with others sums round otherwise")


def main(arguments: argparse.Namespace) -> None:
    """Goes on with the run."""
    from cotasp.storage.rundir import RunDirectory

    directory = RunDirectory.open(arguments.dir)
    threads = directory.threads() if arguments.threads is None else arguments.threads
    set_threads(threads)
    from cotasp.continual.loop import resume

    if directory.summary() is not None:
        print(f"{arguments.dir}: this run has ended; there is nothing to go on with")
    resume(arguments.dir, progress=not arguments.quiet)
    print_result(arguments.dir, threads)
