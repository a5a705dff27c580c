"""`cotasp doctor`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cotasp.commands._common import add_verb
from cotasp.errors import RunError

EPILOG = """A line for each question: ok, warning (something is slow or missing) or error (no run is
possible), what was found, and the remedy. Exit code 0 unless there is an error.
Plug-ins are imported, and the model hub is asked where the text model is not at hand.
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = add_verb(subparsers, "doctor", "Say what this machine offers to runs.", EPILOG)
    parser.add_argument("--json", action="store_true", help="the same for programs")


def main(arguments: argparse.Namespace) -> None:
    """Prints the findings; raises RunError where one of them makes runs impossible."""
    from cotasp.continual.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    impossible = [finding.name for finding in findings if finding.level == "error"]
    if impossible:
        raise RunError(f"no run is possible here until this is mended: {', '.join(impossible)}")
    if not arguments.json:
        print("done: runs are possible; next: cotasp run smoke")
