"""What a run cost."""

from __future__ import annotations

import resource
import sys


def cost(seconds: float, peak_memory: int) -> dict[str, float]:
    """Wall time and peak memory in bytes, as `timing.json` keeps them."""
    return {"wall_seconds": round(seconds, 1), "peak_memory_bytes": peak_memory}


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, else in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
