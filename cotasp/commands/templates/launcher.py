"""A launcher of sweeps: processes on this machine, some cores left to others."""

import os
from dataclasses import dataclass

from cotasp.sweep import Local


@dataclass(frozen=True)
class Example:
    """One process for each core but some.

    Args:
        spare: cores that are left to others.
    """

    spare: int = 1

    def open(self):
        return Local(workers=max(1, (os.cpu_count() or 1) - self.spare)).open()
