"""Whether there is memory for replay buffers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

from cotasp.errors import RecipeError
from cotasp.methods.kept import kept_bytes
from cotasp.methods.memory import Memory
from cotasp.methods.problem import Problem, Sampling
from cotasp.methods.replay import Replay

# Linux's control groups, by what /proc/self/cgroup calls them in version 2 and in version 1: where
# they are, a group's limit, and what of it is in use (file caches are not: they give way)
_GROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "anon"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss"),
}


def check_memory(sampling: Sampling, problem: Problem, memory: Memory | None = None) -> None:
    """Makes sure that the transitions that a process's learners keep will fit in memory.

    Systems hand out memory as it is filled: without this the run would be killed hours later.

    Args:
        sampling: of the replay buffers.
        problem: the stream.
        memory: what is kept of finished tasks; None: nothing.

    Raises:
        RecipeError: they will not fit; never where it is unknown how much memory is available.
    """
    replay, available = Replay(sampling, problem, task=0), available_memory(problem.device)
    needed = problem.learners * replay.bytes
    old = 0 if memory is None else kept_bytes(memory, problem, replay.capacity)
    if available is not None and needed > available:
        each = f"{problem.learners} learners x {_size(replay.bytes)} = "
        raise RecipeError(
            f"recipe.agent.buffer_size: expected a replay buffer that fits in the "
            f"{_size(available)} of memory available on {problem.device}, got "
            f"{sampling.buffer_size}: {replay.capacity} transitions kept at a time need "
            f"{each if problem.learners > 1 else ''}{_size(needed)}; choose a smaller buffer_size, "
            f"{'fewer seeds in one process, ' if problem.learners > 1 else ''}"
            f"or a machine with more memory"
        )
    if available is not None and old and needed + problem.learners * old > available:
        raise RecipeError(
            f"recipe.memory: expected rows of finished tasks that fit in the "
            f"{_size(available)} of memory available on {problem.device}, beside replay buffers of "
            f"{_size(needed)}, got {type(memory).__name__}, which keeps {_size(old)} of "
            f"{len(problem.texts)} tasks for each of {problem.learners} learner(s); "
            f"choose a smaller memory.size, or a machine with more memory"
        )


def available_memory(device: str, root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take on a torch device; None: unknown.

    Args:
        device: torch device.
        root: of the file system in which Linux tells.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_bounds(root), default=None) if kind == "cpu" else None


def _bounds(root: Path) -> Iterator[int]:
    """What the machine has left, in bytes, and each control group that this process is in."""
    machine = _table(root / "proc/meminfo")
    if "MemAvailable" in machine:
        yield machine["MemAvailable"] * 1024
    elif hasattr(os, "sysconf"):  # all there is, for want of what is left of it
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in _GROUPS:
            continue
        place, limit, used = _GROUPS[controllers]
        group = PurePosixPath(path)
        for each in (group, *group.parents):
            folder = root / place / each.relative_to("/")
            most = _text(folder / limit).strip()
            if most.isdecimal():  # and not "max"
                yield int(most) - _table(folder / "memory.stat").get(used, 0)


def _table(path: Path) -> dict[str, int]:
    """Lines such as `MemAvailable:  21693148 kB` or `anon 1822720`."""
    rows = (line.replace(":", " ").split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _size(n: int) -> str:
    return f"{n / 1e6:,.1f} MB"
