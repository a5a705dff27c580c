"""What a run cost."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class ProcessorTime:
    """Processor seconds of a run, now and at each of its evaluations, without these.

    They are of the whole process, all threads: runs that share one (`--launcher stacked`) each
    have the seconds of all, as of wall time.
    """

    def __init__(self) -> None:
        self._start = time.process_time()
        self._at_evaluations: list[float] = []

    @property
    def seconds(self) -> float:
        """Processor seconds so far."""
        return time.process_time() - self._start

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Notes the seconds so far, and leaves out those that are spent inside."""
        seconds = self.seconds
        yield
        self._at_evaluations.append(seconds)
        self._start = time.process_time() - seconds

    def to_json(self) -> dict[str, Any]:
        """Seconds as checkpoints and `timing.json` keep them, null where they are not known."""
        return {
            "cpu_seconds": _plain(self.seconds),
            "cpu_seconds_at_evaluations": [_plain(s) for s in self._at_evaluations],
        }

    def continue_from(self, saved: Mapping[str, Any], evaluations: int) -> None:
        """Goes on from what `to_json` gave.

        Args:
            saved: the manifest of a checkpoint; those of earlier versions have no such seconds.
            evaluations: of the run until then.
        """
        before = saved.get("cpu_seconds_at_evaluations", [None] * evaluations)
        self._at_evaluations = [_number(s) for s in before]
        self._start = time.process_time() - _number(saved.get("cpu_seconds"))


def _plain(seconds: float) -> float | None:
    return None if math.isnan(seconds) else round(seconds, 3)


def _number(seconds: float | None) -> float:
    return math.nan if seconds is None else float(seconds)


def cost(seconds: float, peak_memory: int, processor: ProcessorTime) -> dict[str, Any]:
    """Wall and processor time and peak memory in bytes, as `timing.json` keeps them."""
    return {
        "wall_seconds": round(seconds, 1),
        "peak_memory_bytes": peak_memory,
        **processor.to_json(),
    }


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, else in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
