"""Checkpoints of a run: written whole or not at all, checked when read, rotated.

checkpoints/task_02/                          after two tasks; kept
checkpoints/task_03_step_000020000/           within the third; the last two are kept
checkpoints/task_03_end_000000150/            the same, after 150 updates at the third's end
    manifest.json  state.json  tensors.safetensors
checkpoints/rows/task_03/000000000-000020000.safetensors
    the replay buffer's rows of those numbers; written once, deleted when nobody needs them
"""

from __future__ import annotations

import os
import re
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotasp._version import __version__
from cotasp.errors import RunError
from cotasp.storage.checkpoint import MANIFEST, SCHEMA_VERSION, STATE, TENSORS, Checkpoint, seal
from cotasp.storage.disk import sync_directory
from cotasp.storage.rows import Rows
from cotasp.storage.rundir import RunDirectory
from cotasp.storage.snapshot import Damaged, pack, write_json_file, write_tensors
from cotasp.storage.tensors import non_finite

KEPT = 2  # checkpoints within a task
_NAME = re.compile(r"task_(\d+)(?:_(step|end)_(\d+))?")
_WHOLE = 2  # of a task, in the order of its checkpoints


def checkpoint_name(task: int, steps: int | None = None, updates: int | None = None) -> str:
    """Of the checkpoint after `steps` of task number `task`, after `updates` at its end, or of the
    whole task.
    """
    if updates is not None:
        return f"task_{task + 1:02d}_end_{updates:09d}"
    return f"task_{task + 1:02d}" + ("" if steps is None else f"_step_{steps:09d}")


def _order(path: Path) -> tuple[int, int, int]:
    match = _NAME.fullmatch(path.name)
    task, part, count = match.groups()  # type: ignore[union-attr]  # it is a checkpoint's
    return int(task), _WHOLE if part is None else int(part == "end"), int(count or 0)


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "checkpoints"
        self._rows: dict[str, list[dict[str, Any]]] = {}  # files that hold a table, in order

    def finished(self) -> int:
        """Tasks after whose end there is a checkpoint: the number of the last one, from 1; or 0."""
        whole = [task for task, part, _ in map(_order, self.paths()) if part == _WHOLE]
        return max(whole, default=0)

    def paths(self) -> list[Path]:
        """All checkpoints, in the order in which they were written.

        Raises:
            RunError: the directory cannot be read.
        """
        try:
            paths = [self.path / name for name in os.listdir(self.path) if _NAME.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {error.strerror}") from error
        return sorted(paths, key=_order)

    def newest(self) -> Checkpoint | None:
        """The last checkpoint that is whole, or None where there has been none.

        Raises:
            RunError: a newer version of cotasp wrote it, there are some and none is whole, or a
                file cannot be read.
        """
        problems = []
        for path in reversed(self.paths()):
            try:
                saved = Checkpoint.open(path)
                saved.verify()
            except Damaged as error:
                problems.append(f"{path}: damaged: {error}")
                continue
            for problem in problems:
                warnings.warn(f"{problem}; {path} is used instead", stacklevel=2)
            return saved
        if problems:
            raise RunError(
                f"no checkpoint is whole: {'; '.join(problems)}; put one back, or "
                f"{RunDirectory(self.path.parent).again()}"
            )
        return None

    def continue_from(self, saved: Checkpoint | None) -> None:
        """Removes what came after a checkpoint, whole or not; the next one follows it."""
        for path in self.paths():
            if saved is None or _order(path) > _order(saved.path):
                shutil.rmtree(path)
        for path in self.path.glob(".*.writing"):
            shutil.rmtree(path)
        self._rows = {} if saved is None else saved.rows()
        self._remove_unused_rows()

    def save(self, name: str, state: Mapping[str, Any], beside: Mapping[str, Any]) -> Path:
        """Writes a checkpoint.

        Args:
            name: see `checkpoint_name`.
            state: nested mappings of tensors, `Rows` and what JSON can hold.
            beside: kept with the state, but no part of its content: what times and places say.

        Raises:
            RunError: a number in the state is not finite.
            OSError: it could not be written; the directory is as it was before.
        """
        tree, tensors, tables = pack(state)
        _check_finite(tensors)
        self.path.mkdir(exist_ok=True)
        temporary, path = self.path / f".{name}.writing", self.path / name
        new: list[Path] = []
        try:
            rows = {table.name: self._save_rows(table, new) for table in tables.values()}
            temporary.mkdir()
            files = {
                STATE: write_json_file(temporary / STATE, tree),
                TENSORS: write_tensors(temporary / TENSORS, tensors),
            }
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "cotasp": __version__,
                "files": files,
            }
            manifest |= {"rows": rows, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **beside}
            write_json_file(temporary / MANIFEST, seal(manifest))
            sync_directory(temporary)
            os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            for file in new:
                file.unlink(missing_ok=True)
            raise
        self._rows = rows
        try:
            sync_directory(self.path)
            self._rotate()
        except (OSError, RunError) as error:
            warnings.warn(
                f"{path}: written, but what follows failed: {error}; the next checkpoint does it",
                stacklevel=2,
            )
        return path

    def _save_rows(self, table: Rows, new: list[Path]) -> list[dict[str, Any]]:
        """Writes the rows that are on no file yet; all files of the table that are needed."""
        files = [f for f in self._rows.get(table.name, []) if f["stop"] > table.start]
        first = files[-1]["stop"] if files else table.start
        if first < table.stop:
            columns = table.read(first, table.stop)
            _check_finite({f"{table.name}/{key}": column for key, column in columns.items()})
            file = f"{table.name}/{first:09d}-{table.stop:09d}.safetensors"
            path = self.path / "rows" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            new.append(path)
            entry = {"file": file, "start": first, "stop": table.stop}
            files.append(entry | write_tensors(path, columns))
            sync_directory(path.parent)
        return files

    def _rotate(self) -> None:
        within = [path for path in self.paths() if _order(path)[1] != _WHOLE]
        for path in within[:-KEPT]:
            shutil.rmtree(path)
        self._remove_unused_rows()

    def _remove_unused_rows(self) -> None:
        used = set()
        for path in self.paths():
            try:
                tables = Checkpoint.open(path).rows().values()
            except Damaged:
                continue
            used |= {file["file"] for files in tables for file in files}
        folder = self.path / "rows"
        for path in folder.glob("*/*"):
            if path.relative_to(folder).as_posix() not in used:
                path.unlink()


def _check_finite(tensors: Mapping[str, Any]) -> None:
    name = non_finite(tensors.items())
    if name is not None:
        raise RunError(f"{name.lstrip('/')} is not finite; this state is not saved")
