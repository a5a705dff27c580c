"""A mask policy: neurons whose code is large enough."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Example:
    """1 where the code is above a threshold, trained where it lies between 0 and 1.

    Args:
        threshold: in [0, 1); `step` has 0.
    """

    gradient: ClassVar[str] = "clipped"
    local: ClassVar[bool] = True
    threshold: float = 0.05

    def __call__(self, code, progress=1.0):
        mask = (code.detach() > self.threshold).to(code.dtype)
        slope = code.clamp(0, 1) * mask
        return mask + (slope - slope.detach())
