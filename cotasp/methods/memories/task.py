"""Nothing of finished tasks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskOnly:
    """The task in training alone: of finished tasks nothing is kept."""

    def rows_kept(self, finished: int) -> int:
        return 0

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        return 0
