"""Files that survive a loss of power."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_ASIDE = ".writing."


def write_new(path: Path, content: bytes) -> None:
    """Writes a new file down to the disk; its name is there after `sync_directory`."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that is either whole or as it was, also after a loss of power."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_ASIDE) as aside:
        new = Path(aside) / path.name
        write_new(new, content)
        os.replace(new, path)
    sync_directory(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Removes what processes that were killed within `write_whole` left; no other may be in it."""
    for aside in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(aside, ignore_errors=True)


def following_no_link(path: str, flags: int) -> int:
    """Opener, for `open`, of the file of that name itself, not of one that a link leads to."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def sync_directory(path: Path) -> None:
    """Makes names that were given in a directory survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Makes all files in and below a directory survive a loss of power."""
    for folder, _, files in os.walk(path):
        for name in files:
            with open(Path(folder) / name, "rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))
