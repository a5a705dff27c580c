"""What a run cost."""

from __future__ import annotations

import resource
import sys


def cost(seconds: float) -> dict[str, float]:
    """Wall time and the process's peak memory, as `timing.json` keeps them.

    Args:
        seconds: that the run took.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, else in KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"wall_seconds": round(seconds, 1), "peak_memory_bytes": peak}
