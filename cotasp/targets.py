"""Whether something can be written where it is asked for, before work is done for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file to be written, which takes the place of `path` if nothing goes wrong: whoever had
    a file there has it still, or has the whole new one.

    Its ending is in small letters, for whoever reads formats from endings.

    Raises:
        RunError: it cannot be written, by any OSError inside.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing.") as aside:
            new = Path(aside) / f"new{path.suffix.lower()}"
            yield new
            os.replace(new, target)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written: {error.strerror or error}; mend that, or name another "
            f"file by --out"
        ) from error
