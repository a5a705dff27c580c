"""Tables that grow at their end, such as a replay buffer, as a part of a state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Rows `start` to `stop` of a table, counted from the first that it ever held.

    A row never changes once it is there, so whoever saves a table needs only the rows that have
    come since the last time; the table forgets rows at its beginning.

    Args:
        name: of the table, unique within a run.
        start: first row still held.
        stop: one past the last.
        read: `(first, last)` to columns [last - first, ...] by name.
    """

    name: str
    start: int
    stop: int
    read: Callable[[int, int], dict[str, Tensor]] = field(repr=False, compare=False)
