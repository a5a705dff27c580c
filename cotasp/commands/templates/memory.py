"""A memory: a fixed number of rows, shared by all finished tasks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """Rows for protections that rehearse, fewer of each task as more end.

    Args:
        size: rows of all finished tasks together, at least 1.
    """

    size: int = 10_000

    def rows_kept(self, finished):
        return max(1, self.size // finished)

    def old_rows(self, batch_size, old, current):
        return 0  # training batches hold rows of the task in training alone
