"""Everything that was seen, as far as there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cotasp.checks import check_fields
from cotasp.ranges import Range


@dataclass(frozen=True)
class Reservoir:
    """Training batches from all tasks so far, every row as likely as any other (perfect memory).

    Finished tasks share the room equally: when one more has ended, the others lose as many rows,
    chosen at random.  A reservoir (Vitter 1985) keeps equally many in expectation.  A batch holds
    old and current rows in the proportion in which there are some, rounded.  Continual World's
    perfect memory (arXiv 2105.10919) has room for everything.

    Args:
        size: rows of finished tasks, all together; at least 1.
    """

    size: Annotated[int, Range(1, 10**9)] = 1_000_000

    def __post_init__(self):
        check_fields(self)

    def rows_kept(self, finished: int) -> int:
        return self.size // finished

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return round(batch_size * old / max(1, old + current))
