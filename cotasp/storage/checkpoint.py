"""One checkpoint on disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from cotasp.errors import RunError
from cotasp.storage.rows import Rows
from cotasp.storage.rundir import GROWING
from cotasp.storage.snapshot import (
    Damaged,
    pack,
    read_json_file,
    read_tensors,
    to_json,
    unpack,
)

SCHEMA_VERSION = 4  # counts up when an older cotasp could not read what is written
MANIFEST, STATE, TENSORS = "manifest.json", "state.json", "tensors.safetensors"
_ROWS_FILE = re.compile(r"\w+/\d+-\d+\.safetensors")
_PIECE = 65_536  # rows hashed at once


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a checksum of itself."""
    return {**manifest, "checksum": hashlib.sha256(to_json(manifest)).hexdigest()}


def _check(manifest: Mapping[str, Any]) -> bool:
    """Whether all files that a manifest names are where such files belong.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: it does not have the form of one.
    """
    entries = [entry for files in manifest["rows"].values() for entry in files]
    for entry in (manifest["files"][STATE], manifest["files"][TENSORS], *entries):
        _count(entry["bytes"])
        str.encode(entry["sha256"])
    for entry in entries:
        if not _count(entry["start"]) < _count(entry["stop"]):
            raise ValueError(f"{entry['file']} has no rows")
    for length in manifest["metrics"].values():
        _count(length)
    float(manifest["wall_seconds"])
    _count(manifest.get("peak_memory_bytes", 0))
    processor = (manifest.get("cpu_seconds"), *manifest.get("cpu_seconds_at_evaluations", ()))
    for seconds in processor:
        float(0 if seconds is None else seconds)
    logs = [PurePosixPath(name).parts for name in manifest["metrics"]]
    return all(_ROWS_FILE.fullmatch(entry["file"]) for entry in entries) and all(
        parts[:1] and parts[0] in GROWING and ".." not in parts for parts in logs
    )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"expected a count, got {value!r}")
    return value


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Args:
        path: its directory.
        manifest: files with sizes and checksums, and what was saved beside the state.
    """

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Checkpoint:
        """The checkpoint in a directory; of its files only the manifest is read.

        Raises:
            Damaged: the manifest is not what was written.
            RunError: a newer or an older version of cotasp wrote it.
        """
        manifest = read_json_file(path / MANIFEST)
        if not isinstance(manifest, dict):
            raise Damaged(f"{MANIFEST} is no mapping")
        version = manifest.get("schema_version")
        if isinstance(version, int) and version != SCHEMA_VERSION:
            newer = version > SCHEMA_VERSION
            age, remedy = ("a newer", "upgrade") if newer else ("an older", "go back to that one")
            raise RunError(
                f"{path}: written by {age} cotasp ({manifest.get('cotasp')}, format {version}; "
                f"this one reads {SCHEMA_VERSION}); {remedy} to read it"
            )
        rest = {key: value for key, value in manifest.items() if key != "checksum"}
        if seal(rest) != manifest or version != SCHEMA_VERSION:
            raise Damaged(f"{MANIFEST} is not what was written: its checksum differs")
        try:
            inside = _check(manifest)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Damaged(f"{MANIFEST} does not have the form of one: {error!r}") from error
        if not inside:
            raise Damaged(f"{MANIFEST} names files outside of its directory")
        return cls(path, manifest)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """By table, the files that hold its rows, in order."""
        return {name: list(files) for name, files in self.manifest["rows"].items()}

    def rows_path(self, entry: Mapping[str, Any]) -> Path:
        """Where a file of rows is."""
        return self.path.parent / "rows" / entry["file"]

    def verify(self) -> None:
        """Reads everything once.

        Raises:
            Damaged: a file is not what was written, or nothing that could be read.
        """
        self.state()
        for files in self.manifest["rows"].values():
            for entry in files:
                read_tensors(self.rows_path(entry), entry)

    def state(self) -> Any:
        """The state that was saved; rows are read when they are asked for.

        Raises:
            Damaged: a file is not what was written.
        """
        files = self.manifest["files"]
        tensors = read_tensors(self.path / TENSORS, files[TENSORS])
        tree = read_json_file(self.path / STATE, files[STATE])
        try:
            return unpack(tree, tensors, self._table)
        except (KeyError, TypeError) as error:
            raise Damaged(f"{STATE} and {TENSORS} do not belong together") from error

    def _table(self, name: str, start: int, stop: int) -> Rows:
        files = self.manifest["rows"][name]

        def read(first: int, last: int) -> dict[str, Tensor]:
            parts: list[dict[str, Tensor]] = []
            for entry in files:
                begin, end = max(first, entry["start"]), min(last, entry["stop"])
                if begin < end:
                    columns = read_tensors(self.rows_path(entry), entry)
                    rows = slice(begin - entry["start"], end - entry["start"])
                    parts.append({key: column[rows] for key, column in columns.items()})
            if sum(len(next(iter(part.values()), ())) for part in parts) != last - first:
                raise Damaged(f"rows {first} to {last} of {name} are not all there")
            return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

        return Rows(name, start, stop, read)

    def content_hash(self) -> str:
        """A hash of the state alone: of two runs that did the same, whenever they were saved.

        Files of rows may be cut differently, so their rows count and not the files.
        """
        digest = hashlib.sha256()
        for name in (STATE, TENSORS):
            digest.update(self.manifest["files"][name]["sha256"].encode())
        tables = pack(self.state())[2]
        for place in sorted(tables):
            for part in self._column_hashes(tables[place]):
                digest.update(part)
        return digest.hexdigest()

    @staticmethod
    def _column_hashes(table: Rows) -> list[bytes]:
        hashes: dict[str, Any] = {}
        for first in range(table.start, table.stop, _PIECE):
            for key, column in table.read(first, min(first + _PIECE, table.stop)).items():
                column_bytes = column.contiguous().view(-1).view(torch.uint8).numpy()
                hashes.setdefault(key, hashlib.sha256(key.encode())).update(column_bytes)
        return [hashes[key].digest() for key in sorted(hashes)]
