"""Runs that travel between machines: what of a run directory is sent, and how it arrives.

A parcel is a tar file of those files that the receiver lacks.  It is unpacked beside the run and
renamed into it in an order that leaves a run to go on with at every moment: rows of the replay
buffer, all other files, the checkpoints that need both, each directory at once, and the summary.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from cotasp.storage.disk import sync_directory, sync_tree
from cotasp.storage.readme import README, readme
from cotasp.storage.rundir import GROWING, SUMMARY

MANIFEST = "manifest.json"  # as in cotasp.storage.checkpoint, which imports torch
CHECKPOINTS, ROWS = "checkpoints", "checkpoints/rows"
_MIRRORED = (CHECKPOINTS, *GROWING)  # what a run removes, the receiver removes
Version = tuple[int, int, int]  # time of change, size, inode


def listing(run: Path) -> dict[str, Version]:
    """The files of a run that travel, by path in it, in the order in which they arrive.

    Hidden files, symbolic links and rows that no checkpoint names stay.  Checkpoints are listed
    before what they need, so that a run at work leaves none without it.

    Raises:
        FileNotFoundError: a file was removed meanwhile; look again.
    """
    checkpoints = [p for p in (run / CHECKPOINTS).glob("task_*") if (p / MANIFEST).is_file()]
    names = {f"{ROWS}/{file}" for path in checkpoints for file in _rows(path)}
    names |= {f"{CHECKPOINTS}/{path.name}/{n}" for path in checkpoints for n in os.listdir(path)}
    names |= {n for n in files_below(run) if not n.startswith(f"{CHECKPOINTS}/")}
    return {name: _version(run / name) for name in sorted(names, key=_order)}


def checkpoint_names(run: Path) -> set[str]:
    """Names of the checkpoints of a run."""
    return {path.name for path in (run / CHECKPOINTS).glob("task_*")}


def files_below(run: Path) -> Iterator[str]:
    """Paths of all files of a run but hidden ones and links."""
    for folder, folders, files in os.walk(run):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(folder, name) for name in files if not name.startswith(".")):
            if not path.is_symlink():
                yield path.relative_to(run).as_posix()


def _rows(checkpoint: Path) -> list[str]:
    """The files of rows that a checkpoint needs; none where it is damaged."""
    try:
        tables = json.loads((checkpoint / MANIFEST).read_bytes())["rows"]
        return [entry["file"] for files in tables.values() for entry in files]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _version(path: Path) -> Version:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _order(name: str) -> tuple[int, str]:
    if name == SUMMARY:
        return 3, name
    if not name.startswith(f"{CHECKPOINTS}/"):
        return 1, name
    return (0 if name.startswith(f"{ROWS}/") else 2), name


def _unit(name: str) -> str:
    """What is renamed at once: a checkpoint's directory, or the file."""
    in_checkpoint = name.startswith(f"{CHECKPOINTS}/") and not name.startswith(f"{ROWS}/")
    return name.rpartition("/")[0] if in_checkpoint else name


def changed(versions: Mapping[str, Version], sent: Mapping[str, Version]) -> list[str]:
    """The files to send where some were sent before; of a checkpoint all or none."""
    new = {_unit(name) for name, version in versions.items() if sent.get(name) != version}
    return [name for name in versions if _unit(name) in new]


def pack(run: Path, names: Iterable[str], parcel: Path) -> int:
    """Writes a parcel of these files of a run; its size in bytes.

    Raises:
        FileNotFoundError, tarfile.ReadError: a file was removed or replaced meanwhile.
    """
    with tarfile.open(parcel, "w") as tar:
        for name in names:
            tar.add(run / name, name, recursive=False)
    return parcel.stat().st_size


def unpack(parcel: Path, run: Path, names: Collection[str]) -> None:
    """Puts what a parcel holds into a run, then removes what its sender no longer has.

    Args:
        parcel: whole; removed.
        run: its directory; made where there is none.
        names: of all files that the sender has.

    Raises:
        OSError: something cannot be written; the run can be continued as before.
    """
    aside = parcel.with_suffix(".files")
    shutil.rmtree(aside, ignore_errors=True)
    with tarfile.open(parcel) as tar:
        tar.extractall(aside, filter="data")
    parcel.unlink()
    if (aside / README).is_file():  # it names the directory that it is in
        (aside / README).write_text(readme(run), encoding="utf-8")
    sync_tree(aside)
    if not run.exists():
        os.rename(aside, run)
        sync_directory(run.parent)
        return
    arrived = sorted(files_below(aside), key=_order)
    for unit in dict.fromkeys(map(_unit, arrived)):
        target = run / unit
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(aside / unit, target)
        sync_directory(target.parent)
    shutil.rmtree(aside)
    _remove_others(run, names)


def _remove_others(run: Path, names: Collection[str]) -> None:
    """Removes files of the folders that a run shortens itself, checkpoints before their rows."""
    units = set(map(_unit, names))
    others = [n for n in files_below(run) if n.split("/")[0] in _MIRRORED and _unit(n) not in units]
    for unit in dict.fromkeys(map(_unit, sorted(others, key=_order, reverse=True))):
        path = run / unit
        shutil.rmtree(path) if path.is_dir() else path.unlink()
