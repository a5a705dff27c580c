"""Whether something can be written where it is asked for, before work is done for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cotasp.errors import RecipeError, RunError

EXPORTS = (".pt2", ".onnx")  # endings of policies that are exported


def check_writable(path: str | Path) -> None:
    """Raises RunError where the nearest directory that is there cannot be written into."""
    path = Path(os.path.abspath(path))
    there = next(each for each in (path, *path.parents) if each.exists())
    if not os.access(there, os.W_OK):
        raise RunError(f"{path}: cannot be written: {there} is read-only; name another by --out")


def check_file(path: str | Path, endings: Sequence[str]) -> Path:
    """A file that is to be written, there or not.

    Raises:
        RecipeError: it has another ending.
        RunError: it is a directory, there is none to hold it, or that cannot be written into.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise RecipeError(f"{path}: expected a file ending with {' or '.join(endings)}")
    if path.is_dir():
        raise RunError(f"{path}: expected a file or nothing there, found a directory")
    if not path.parent.is_dir():
        raise RunError(f"{path.parent}: no such directory; make it first")
    check_writable(path)
    return path
