"""Rows of finished tasks, and what their policies did there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from cotasp.errors import RunError
from cotasp.methods.batch import Batch, Rehearsal
from cotasp.methods.memory import Memory, old_rows, rows_kept
from cotasp.methods.problem import Problem
from cotasp.methods.replay import Replay, row_shapes
from cotasp.modules.policy import Policy
from cotasp.storage.rows import Rows
from cotasp.storage.tensors import check_shapes

_PIECE = 65_536  # rows that a policy is asked for at once

Columns = dict[str, Tensor]


def kept_shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Shapes of a kept row's columns: those of `Batch`, and the policy's outputs."""
    action = (problem.action_dim,)
    return row_shapes(problem) | {"loc": action, "scale": action}


def kept_bytes(memory: Memory, problem: Problem, rows: int) -> int:
    """Bytes of what a memory keeps of a stream's tasks when that is most.

    Args:
        memory: says how many rows.
        problem: the stream.
        rows: that the buffer of a task holds.
    """
    floats = sum(math.prod(shape) for shape in kept_shapes(problem).values())
    held = [n * min(rows, rows_kept(memory, n)) for n in range(1, len(problem.texts) + 1)]
    return max(held, default=0) * (4 * floats + 8)


class KeptRows:
    """What a memory keeps of finished tasks.

    The rows of a task lie in random order, so that the last of them are as good a choice as any
    when there is room for fewer: a table that only grows at its end and forgets at its beginning,
    as checkpoints need it.

    Args:
        memory: says how many.
        problem: sizes, device and seed.
    """

    def __init__(self, memory: Memory, problem: Problem) -> None:
        self.memory = memory
        self.device = torch.device(problem.device)
        self.shapes = kept_shapes(problem)
        # its own: what is kept changes no number that training draws
        self.generator = torch.Generator().manual_seed(problem.seed * 10_007 + 5_003)
        self._tables: dict[int, Columns] = {}  # by task
        self._first: dict[int, int] = {}  # number of each table's first row, those gone counted
        self._join()

    def __len__(self) -> int:
        return len(self._task)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept now."""
        return sum(column.nbytes for column in (*self._all.values(), self._task))

    def keep(self, task: int, replay: Replay, policy: Policy) -> None:
        """Keeps rows of a task that has ended, in place of those kept when it ended before.

        Args:
            task: its number.
            replay: its buffer.
            policy: observations [n, m] to loc, scale [n, action_dim], as the task has ended.
        """
        most = rows_kept(self.memory, len({*self._tables, task}))
        if most < 1 or not len(replay):
            return
        places = torch.randperm(len(replay), generator=self.generator)[:most]
        columns = replay.rows(places)._asdict()
        with torch.no_grad():
            pieces = [policy(part) for part in columns["observation"].split(_PIECE)]
        columns |= dict(zip(("loc", "scale"), map(torch.cat, zip(*pieces))))
        before = self._tables.get(task)
        self._first[task] = 0 if before is None else self._first[task] + _length(before)
        self._tables[task] = columns
        for other, table in self._tables.items():
            gone = max(0, _length(table) - most)
            self._first[other] += gone
            self._tables[other] = {name: column[gone:] for name, column in table.items()}
        self._join()

    def draw(self, count: int, generator: Generator) -> Rehearsal | None:
        """Rows drawn uniformly with replacement over all finished tasks; None: there are none."""
        if not len(self):
            return None
        places = torch.randint(len(self), (count,), generator=generator).to(self.device)
        rows = {name: column[places] for name, column in self._all.items()}
        batch = Batch(*(rows[name] for name in Batch._fields))
        return Rehearsal(batch, self._task[places], rows["loc"], rows["scale"])

    def mix(self, batches: Batch, current: int) -> Batch:
        """Training batches [count, B, *] in which old rows have the places that are theirs.

        Args:
            batches: of the task in training; changed in place.
            current: rows in its buffer.
        """
        count, size = batches.reward.shape
        old = old_rows(self.memory, size, len(self), current) if len(self) else 0
        if old:
            drawn = self.draw(count * old, self.generator)
            for column, rows in zip(batches, drawn.batch):  # type: ignore[union-attr]  # not empty
                column[:, size - old :] = rows.unflatten(0, (count, old))
        return batches

    def _join(self) -> None:
        """Lays the tables in memory one after the other, to draw from all at once."""
        tables = self._tables.values()
        names = self.shapes if tables else ()
        self._all = {name: torch.cat([table[name] for table in tables]) for name in names}
        sizes = torch.tensor([_length(table) for table in tables], dtype=torch.int64)
        tasks = torch.tensor(list(self._tables), dtype=torch.int64)
        self._task = tasks.repeat_interleave(sizes).to(self.device)
        parts = {name: column.split(sizes.tolist()) for name, column in self._all.items()}
        for i, task in enumerate(self._tables):
            self._tables[task] = {name: part[i] for name, part in parts.items()}

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The rows, as tables that only grow at their end, and the generator."""
        return {
            "generator": self.generator.get_state(),
            "tables": {
                str(task): Rows(
                    f"kept_{task + 1:02d}",
                    self._first[task],
                    self._first[task] + _length(table),
                    partial(self._read, task),
                )
                for task, table in self._tables.items()
            },
        }

    def _read(self, task: int, first: int, last: int) -> Columns:
        begin = self._first[task]
        return {k: c[first - begin : last - begin] for k, c in self._tables[task].items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave.

        Raises:
            RunError: rows of other sizes, or more than this memory keeps.
        """
        tables: Mapping[str, Rows] = state["tables"]
        most = rows_kept(self.memory, max(1, len(tables)))
        self._tables, self._first = {}, {}
        for task, rows in tables.items():
            count = rows.stop - rows.start
            if not 0 < count <= most:
                raise RunError(f"memory: expected 1 to {most} rows of a finished task, got {count}")
            columns = rows.read(rows.start, rows.stop)
            check_shapes(
                f"memory {rows.name}", columns, {k: (count, *s) for k, s in self.shapes.items()}
            )
            self._first[int(task)] = rows.start
            self._tables[int(task)] = {k: columns[k].to(self.device) for k in self.shapes}
        self._join()
        self.generator.set_state(state["generator"])


def _length(table: Columns) -> int:
    return len(table["reward"])
