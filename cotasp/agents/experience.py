"""What CoMPS keeps of a task: all its transitions, and its trajectories of highest return."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Generator, Tensor

from cotasp.agents.meta_learning import Skilled, Transitions
from cotasp.errors import RunError
from cotasp.storage import rows as storage
from cotasp.storage.tensors import check_shapes

_PIECE = 65_536  # rows read at once
_AT_ONCE = 1 << 20  # bytes written at once


class Experience:
    """A task's transitions, in the order in which they came; what is there never changes.

    They lie in files that have no name and are gone with the process, and are mapped into memory:
    what there is no room for the system puts aside.

    Args:
        task: its number.
        capacity: rows kept, at most.
        sizes: of an observation and an action.
        keep: the first rows or the last, where there are more.

    Raises:
        RunError: there is no room for the files.
    """

    def __init__(
        self, task: int, capacity: int, sizes: tuple[int, int], keep: Literal["first", "last"]
    ) -> None:
        self.name = f"experience_{task + 1:02d}"
        self.capacity = capacity
        self.keep = keep
        self.added = 0  # rows, those since overwritten included
        shapes = (capacity, sizes[0]), (capacity, sizes[1]), (capacity,), (capacity,)
        try:
            self.columns = Transitions(*(_mapped(shape) for shape in shapes))
        except OSError as error:
            raise RunError(
                f"{self.name}: expected room for {capacity} transitions in "
                f"{tempfile.gettempdir()}, got {error.strerror}; keep fewer by "
                f"meta.rows_per_task, or set TMPDIR to a directory on a larger disk"
            ) from error

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, rows: Transitions) -> None:
        """Appends rows [n]; beyond the capacity, none or in the place of the oldest."""
        room = self.capacity - self.added if self.keep == "first" else self.capacity
        count = len(rows.log_prob)
        first = 0 if self.keep == "first" else max(0, count - room)
        last = min(count, room) if self.keep == "first" else count
        if first >= last:
            return
        places = torch.arange(self.added + first, self.added + last) % self.capacity
        for column, new in zip(self.columns, rows):
            column[places] = new[first:last].to(column)
        self.added += last

    def sample(self, shape: Sequence[int], generator: Generator) -> Transitions:
        """Rows drawn uniformly with replacement, [*shape]."""
        kept = Transitions(*(column[: len(self)] for column in self.columns))
        return sample_rows(kept, shape, generator)

    def rows(self) -> storage.Rows:
        """Those that there are, for a checkpoint."""
        return storage.Rows(self.name, self.added - len(self), self.added, self._read)

    def _read(self, first: int, last: int) -> dict[str, Tensor]:
        places = torch.arange(first, last) % self.capacity
        return {key: column[places] for key, column in self.columns._asdict().items()}

    def load(self, rows: storage.Rows) -> None:
        """Takes back what `rows` gave.

        Raises:
            RunError: there are more than this may keep, or they are of other sizes.
        """
        if rows.stop - rows.start > self.capacity:
            raise RunError(
                f"{rows.name}: expected at most {self.capacity} rows, as meta.rows_per_task and "
                f"steps_per_task say, got {rows.stop - rows.start}"
            )
        self.added = rows.stop
        for first in range(rows.start, rows.stop, _PIECE):
            last = min(first + _PIECE, rows.stop)
            read, mine = rows.read(first, last), self.columns._asdict()
            shapes = {key: (last - first, *column.shape[1:]) for key, column in mine.items()}
            check_shapes(rows.name, read, shapes)
            places = torch.arange(first, last) % self.capacity
            for key, column in mine.items():
                column[places] = read[key]


def sample_rows(rows: Transitions, shape: Sequence[int], generator: Generator) -> Transitions:
    """Rows of some [n], drawn uniformly with replacement, [*shape]."""
    places = torch.randint(len(rows.log_prob), tuple(shape), generator=generator)
    return Transitions(*(column[places] for column in rows))


def _mapped(shape: Sequence[int]) -> Tensor:
    """Float32 zeros [*shape] in a file.  They are written: a map of a full disk would crash."""
    left = 4 * int(np.prod(shape))
    with tempfile.TemporaryFile() as file:  # its map outlives it
        while left > 0:
            left -= file.write(bytes(min(left, _AT_ONCE)))
        file.flush()
        return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=tuple(shape)))


class Trajectories:
    """A task's episodes of highest return.

    Args:
        count: episodes kept, at most.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.returns: list[float] = []  # descending
        self.episodes: list[Skilled] = []
        self._begun: list[dict[str, Tensor]] = []  # of each environment, the episode under way

    def add(self, data: TensorDictBase) -> None:
        """Takes transitions [T] or [n, T] as they were collected."""
        data = data if data.ndim == 2 else data.unsqueeze(0)
        if not self._begun:
            self._begun = [{} for _ in data]
        for i, line in enumerate(data):
            columns = {
                "observation": line["observation"],
                "raw_action": line["raw_action"],
                "reward": line["next", "reward"].squeeze(-1),
            }
            first = 0
            begins = line["is_init"].flatten().tolist()
            for t, done in enumerate(line["next", "done"].flatten().tolist()):
                if begins[t]:
                    self._begun[i], first = {}, t  # a fault may have cut the one before
                if done:
                    self._end(self._joined(i, columns, first, t + 1))
                    self._begun[i], first = {}, t + 1
            if first < len(begins):
                self._begun[i] = self._joined(i, columns, first, len(begins))

    def _joined(
        self, i: int, columns: Mapping[str, Tensor], first: int, last: int
    ) -> dict[str, Tensor]:
        """The episode under way in environment i, with further steps of it."""
        begun = self._begun[i]
        return {
            key: torch.cat([begun[key], column[first:last]] if begun else [column[first:last]])
            for key, column in columns.items()
        }

    def _end(self, episode: Mapping[str, Tensor]) -> None:
        value = float(episode["reward"].double().sum())
        place = sum(value <= other for other in self.returns)
        if place < self.count:
            entry = Skilled(episode["observation"].clone(), episode["raw_action"].clone())
            self.returns = [*self.returns[:place], value, *self.returns[place:]][: self.count]
            self.episodes = [*self.episodes[:place], entry, *self.episodes[place:]][: self.count]

    def rows(self) -> Skilled:
        """All their transitions, [n].

        Raises:
            RunError: no episode has ended.
        """
        if not self.episodes:
            raise RunError(
                "no episode ended within the task, so that there is none to imitate; train longer "
                "per task, or give the stream a shorter horizon"
            )
        return Skilled(*map(torch.cat, zip(*self.episodes)))

    def state_dict(self) -> dict[str, Any]:
        """Episodes, and those under way."""
        return {
            "returns": list(self.returns),
            "episodes": [episode._asdict() for episode in self.episodes],
            "begun": list(self._begun),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.returns = list(state["returns"])
        self.episodes = [Skilled(**episode) for episode in state["episodes"]]
        self._begun = [dict(columns) for columns in state["begun"]]
