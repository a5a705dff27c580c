"""A fixed part of every batch from finished tasks."""

from __future__ import annotations

from dataclasses import dataclass

from cotasp.checks import check_fields
from cotasp.errors import RecipeError


@dataclass(frozen=True)
class Mixed:
    """Training batches of which a fixed part are rows of finished tasks (CLEAR, arXiv 1811.11682).

    Args:
        old: that part, in (0, 1); the first task has none.
        size: rows kept per finished task, drawn uniformly from its buffer; at least 1.
    """

    old: float = 0.5
    size: int = 10_000

    def __post_init__(self):
        check_fields(self)
        if not 0 < self.old < 1:
            raise RecipeError(f"old: expected in (0, 1), got {self.old}")
        if not 1 <= self.size <= 10**9:
            raise RecipeError(f"size: expected in [1, 1e9], got {self.size}")

    def rows_kept(self, finished: int) -> int:
        return self.size

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return round(batch_size * self.old) if old else 0
