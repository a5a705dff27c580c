"""A nested state as files: tensors as safetensors, all else as JSON, each with its checksum.

Reading parses numbers, never code: no pickle is opened, whatever the files are called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from cotasp.errors import RunError
from cotasp.storage.disk import write_new
from cotasp.storage.rows import Rows

_MARK = "$"  # of what stands in the JSON for a tensor or a table
_SCALARS = (str, int, float, bool, type(None))


class Damaged(RunError):
    """A file is not what was written."""


def pack(node: Any, place: str = "") -> tuple[Any, dict[str, Tensor], dict[str, Rows]]:
    """A nested state as JSON, and the tensors and tables by their place in it.

    Raises:
        TypeError: a value of another kind, or a key that is no word.
    """
    tensors: dict[str, Tensor] = {}
    tables: dict[str, Rows] = {}

    def visit(node: Any, place: str) -> Any:
        if isinstance(node, _SCALARS):  # most of a state: random generators are hundreds of them
            return node
        if isinstance(node, (Tensor, Rows)) and (place in tensors or place in tables):
            raise TypeError(f"{place}: two parts of a state have this place")
        if isinstance(node, Tensor):
            tensors[place] = node.detach()
            return {_MARK: "tensor"}
        if isinstance(node, Rows):
            tables[place] = node
            return {_MARK: "rows", "name": node.name, "start": node.start, "stop": node.stop}
        if isinstance(node, Mapping):
            for key in node:
                if not isinstance(key, str) or key.startswith(_MARK):
                    raise TypeError(f"{place}: a state cannot have the key {key!r}")
            return {key: visit(value, f"{place}/{key}") for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [visit(value, f"{place}/{i}") for i, value in enumerate(node)]
        raise TypeError(f"{place}: a state cannot hold a {type(node).__name__}")

    return visit(node, place), tensors, tables


def unpack(node: Any, tensors: Mapping[str, Tensor], table: Callable[[str, int, int], Rows]) -> Any:
    """The nested state that `pack` took apart; `table` makes one from its name and ends."""

    def visit(node: Any, place: str) -> Any:
        if isinstance(node, list):
            return [visit(value, f"{place}/{i}") for i, value in enumerate(node)]
        if not isinstance(node, dict):
            return node
        if node.get(_MARK) == "tensor":
            return tensors[place]
        if node.get(_MARK) == "rows":
            return table(node["name"], node["start"], node["stop"])
        return {key: visit(value, f"{place}/{key}") for key, value in node.items()}

    return visit(node, "")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Writes a safetensors file; returns its size and checksum."""
    return write_bytes(path, safetensors.torch.save(_apart(tensors)))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, each in memory of its own, which is all that safetensors takes."""
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for place, tensor in tensors.items():
        tensor = tensor.cpu().contiguous()
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.numel() * tensor.element_size()
        if not whole or storage.data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        own[place] = tensor
    return own


def read_tensors(path: Path, expected: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file that `write_tensors` wrote.

    Raises:
        Damaged: another size or checksum, or no safetensors.
    """
    content = read_bytes(path, expected)
    try:
        return safetensors.torch.load(content)
    except Exception as error:  # safetensors raises errors of its own
        raise Damaged(f"{path.name} is no safetensors file: {error}") from error


def write_json_file(path: Path, value: Any) -> dict[str, Any]:
    """Writes JSON; returns the file's size and checksum."""
    return write_bytes(path, to_json(value))


def read_json_file(path: Path, expected: Mapping[str, Any] | None = None) -> Any:
    """The value of a JSON file; `expected` as for `read_tensors`.

    Raises:
        Damaged: another size or checksum, or no JSON.
    """
    content = read_bytes(path, expected)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is no JSON: {error}") from error


def to_json(value: Any) -> bytes:
    """JSON bytes, the same for equal values in equal order."""
    return json.dumps(value, allow_nan=False).encode()


def write_bytes(path: Path, content: bytes) -> dict[str, Any]:
    """Writes a new file down to the disk; returns its size and checksum."""
    write_new(path, content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def read_bytes(path: Path, expected: Mapping[str, Any] | None) -> bytes:
    """A file's content.

    Raises:
        Damaged: missing, or of another size or checksum than expected.
        RunError: it cannot be read; another time perhaps it can.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise Damaged(f"{path.name} is not there") from error
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror}; nothing was changed; see to the disk and "
            f"the permissions, then try again"
        ) from error
    if expected is not None:
        if len(content) != expected["bytes"]:
            raise Damaged(f"{path.name} has {len(content)} bytes, not {expected['bytes']}")
        if hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise Damaged(f"{path.name} is not what was written: its checksum differs")
    return content
