"""Rows of finished tasks, for rehearsal alone."""

from __future__ import annotations

from dataclasses import dataclass

from cotasp.checks import check_fields
from cotasp.errors import RecipeError


@dataclass(frozen=True)
class Shelf:
    """Some rows of every finished task, for protections that rehearse; training sees none of them.

    What A-GEM (arXiv 1812.00420) and behaviour cloning (ClonEx-SAC, arXiv 2209.13900) keep.

    Args:
        size: rows per finished task, drawn uniformly from its buffer; at least 1.
    """

    size: int = 10_000

    def __post_init__(self):
        check_fields(self)
        if not 1 <= self.size <= 10**9:
            raise RecipeError(f"size: expected in [1, 1e9], got {self.size}")

    def rows_kept(self, finished: int) -> int:
        return self.size

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return 0
