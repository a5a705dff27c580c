"""A fixed part of every batch from finished tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cotasp.checks import check_fields
from cotasp.ranges import Range


@dataclass(frozen=True)
class Mixed:
    """Training batches of which a fixed part are rows of finished tasks (CLEAR, arXiv 1811.11682).

    Args:
        old: that part, in (0, 1); the first task has none.
        size: rows kept per finished task, drawn uniformly from its buffer; at least 1.
    """

    old: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5
    size: Annotated[int, Range(1, 10**9)] = 10_000

    def __post_init__(self):
        check_fields(self)

    def rows_kept(self, finished: int) -> int:
        return self.size

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return round(batch_size * self.old) if old else 0
