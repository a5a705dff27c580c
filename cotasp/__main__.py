"""The command line: finds the verb, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any

from cotasp import __version__
from cotasp.commands import VERBS
from cotasp.errors import CotaspError, RecipeError, RunError, RunStopped

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 1000  # characters of an error that are shown
EPILOG = """examples:
  cotasp init mine.yaml                              write a commented recipe
  cotasp run recipes/smoke.yaml                      learn a toy stream, in seconds
  cotasp resume runs/smoke-seed0                     go on with a run that was stopped
  cotasp show recipes/smoke.yaml dictionary.lmbda=1e-2
  cotasp list solver
  cotasp evaluate runs/smoke-seed0
  cotasp prompt runs/smoke-seed0 "Move the car to the right."
  cotasp play runs/smoke-seed0 --all --out smoke.gif
  cotasp adapt runs/smoke-seed0 --env bottom --steps 1500 --baseline
  cotasp export runs/smoke-seed0 --task right --out right.pt2
  cotasp sweep recipes/smoke.yaml --axis dictionary.update=online,anchored --seeds 5
  cotasp report runs/smoke-sweep
  cotasp new plugin my-mask --kind mask              write a plug-in package to begin with
  cotasp doctor                                      say what this machine offers to runs
`cotasp COMMAND --help` has more.
"""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> Any:
        raise RecipeError(f"{message}; see {self.prog} --help")


def verb(name: str) -> Any:
    """The module of a verb."""
    return import_module(f"cotasp.commands.{name}")


def parser() -> argparse.ArgumentParser:
    """The argument parser of all verbs."""
    top = _Parser(
        prog="cotasp",
        description="Continual reinforcement learning with sparse-prompted sub-networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"cotasp {__version__}")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    subparsers = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for name in VERBS:
        verb(name).add_arguments(subparsers)
    return top


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    # argparse ends a list of positionals at the first option: take up what stands behind it
    edits = hasattr(arguments, "overrides")
    if rest and arguments.verb == "play" and arguments.text is None and rest[0][:1] != "-":
        arguments.text, *rest = rest
    if rest and (not edits or any(r.startswith("-") for r in rest)):
        unknown = [r for r in rest if r.startswith("-") or not (edits and "=" in r)]
        top.prog = f"cotasp {arguments.verb}"
        top.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        arguments.overrides += rest
    for name, value in vars(arguments).items():
        if name != "text" and (value == "" or (isinstance(value, list) and "" in value)):
            raise RecipeError(f"{name}: expected something, got ''; leave it out, or name it")
    return arguments


def _fail(error: Exception) -> int:
    """Prints an error in one line; returns its exit code."""
    known = isinstance(error, CotaspError)
    if not known and "MUJOCO_GL" in os.environ:  # TorchRL and Meta-World import MuJoCo, which fails
        from cotasp.tasks.drawing import check_mujoco

        try:
            check_mujoco()
        except RunError as cause:
            known, error = True, cause
    message = str(error) if known else f"{type(error).__name__}: {error} (rerun with --debug)"
    line = " ".join(_COLOUR.sub("", message).split())
    excerpt = line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."
    print(f"cotasp: error: {excerpt}", file=sys.stderr)
    return 2 if isinstance(error, RecipeError) else 1


def _in_one_line(message: Warning | str, *rest: Any, **more: Any) -> str:
    """A warning as it is shown; Gymnasium's have the colours of a terminal."""
    return f"cotasp: warning: {_COLOUR.sub('', str(message))}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit code.

    0: all went well; 1: a run failed; 2: a recipe or an argument cannot be used; 130: Ctrl-C;
    143: SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):  # what cannot be shown is escaped
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _arguments(argv)
    except RecipeError as error:
        return _fail(error)
    usual = warnings.formatwarning
    if not arguments.debug:
        warnings.formatwarning = _in_one_line
    try:
        verb(arguments.verb).main(arguments)
        sys.stdout.flush()
    except RunStopped as stopped:
        print(f"cotasp: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("cotasp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `cotasp list | head`
        sys.stdout = None  # else Python complains when it flushes
        return 1
    except Exception as error:
        if arguments.debug:
            raise
        return _fail(error)
    finally:
        warnings.formatwarning = usual
    return 0


if __name__ == "__main__":
    sys.exit(main())
