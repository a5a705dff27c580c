"""Independent seeds from one."""

from __future__ import annotations

import zlib


def derive_seed(seed: int, *labels: str | int) -> int:
    """A seed in [0, 2^31) for one purpose of a run; the same labels give the same seed."""
    return zlib.crc32("/".join(map(str, (seed, *labels))).encode()) & 0x7FFFFFFF
