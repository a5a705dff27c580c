"""What a run cost."""

from __future__ import annotations

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
        """Seconds as checkpoints and `timing.json` keep them."""
        return {
            "cpu_seconds": round(self.seconds, 3),
            "cpu_seconds_at_evaluations": [round(s, 3) for s in self._at_evaluations],
        }

    def continue_from(self, saved: Mapping[str, Any]) -> None:
        """Goes on from what `to_json` gave."""
        self._at_evaluations = [float(s) for s in saved["cpu_seconds_at_evaluations"]]
        self._start = time.process_time() - float(saved["cpu_seconds"])


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
