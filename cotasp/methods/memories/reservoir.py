"""Everything that was seen, as far as there is room."""

from __future__ import annotations

from dataclasses import dataclass

from cotasp.checks import check_fields
from cotasp.errors import RecipeError


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

    size: int = 1_000_000

    def __post_init__(self):
        check_fields(self)
        if not 1 <= self.size <= 10**9:
            raise RecipeError(f"size: expected in [1, 1e9], got {self.size}")

    def rows_kept(self, finished: int) -> int:
        return self.size // finished

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return round(batch_size * old / max(1, old + current))
