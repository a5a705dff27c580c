"""The numbers that a field takes, as part of its annotation: `weight: NonNegative = 1.0`.

`cotasp list` shows them; recipes and `check_fields` refuse other numbers.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple


class Range(NamedTuple):
    """An interval; ends that are infinite are never reached.

    >>> str(Range(0.0, 1.0, above=True)), str(Range(1)), str(Range(0.0, above=True))
    ('in (0, 1]', 'at least 1', 'above 0')
    """

    low: float
    high: float = math.inf
    above: bool = False  # low itself is left out
    below: bool = False  # high itself is left out

    def takes(self, value: float) -> bool:
        """Whether a number lies in it."""
        low = self.low < value if self.above else self.low <= value
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low, high = map(_short, (self.low, self.high))
        if self.high == math.inf:
            return f"above {low}" if self.above else f"at least {low}"
        return f"in {'(' if self.above else '['}{low}, {high}{')' if self.below else ']'}"


def _short(end: float) -> str:
    """A number in few letters, with all its digits."""
    ten, two = f"{end:.0e}".replace("e+0", "e"), f"2^{math.frexp(end)[1] - 1}"
    large = 1e5 <= end < math.inf
    if large and end == float(ten):
        return ten
    return two if large and math.frexp(end)[0] == 0.5 else f"{end:.10g}"


Positive = Annotated[float, Range(0.0, above=True)]
NonNegative = Annotated[float, Range(0.0)]
Share = Annotated[float, Range(0.0, 1.0)]  # [0, 1]
PositiveShare = Annotated[float, Range(0.0, 1.0, above=True)]  # (0, 1]
ShareBelowOne = Annotated[float, Range(0.0, 1.0, below=True)]  # [0, 1)
Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**31, below=True)]  # that every generator takes


def range_of(annotation: Any) -> Range | None:
    """The range that an annotation tells, also of one member of a union."""
    for part in (annotation, *getattr(annotation, "__args__", ())):
        for told in getattr(part, "__metadata__", ()):
            if isinstance(told, Range):
                return told
    return None
