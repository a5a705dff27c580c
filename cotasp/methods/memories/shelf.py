"""Rows of finished tasks, for rehearsal alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cotasp.checks import check_fields
from cotasp.ranges import Range


@dataclass(frozen=True)
class Shelf:
    """Some rows of every finished task, for protections that rehearse; training sees none of them.

    What A-GEM (arXiv 1812.00420) and behaviour cloning (ClonEx-SAC, arXiv 2209.13900) keep.

    Args:
        size: rows per finished task, drawn uniformly from its buffer; at least 1.
    """

    size: Annotated[int, Range(1, 10**9)] = 10_000

    def __post_init__(self):
        check_fields(self)

    def rows_kept(self, finished: int) -> int:
        return self.size

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return 0
