"""Memories: what is kept of finished tasks' transitions, and what training draws of it.

The task in training always has its replay buffer.  A memory says how many rows of every finished
task are kept beside it, and how many of them a training batch holds.  Protections may ask to see
kept rows at every update (`Rehearses`), each with what its task's policy did when the task ended.
Random numbers of training batches are the same whatever the memory keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from cotasp.errors import RecipeError, component_errors, refuse_returned
from cotasp.methods.protection import Protection
from cotasp.modules.mask_capabilities import shares_everything
from cotasp.modules.masks import MaskPolicy


@runtime_checkable
class Memory(Protocol):
    """How many rows of finished tasks are kept and trained on."""

    def rows_kept(self, finished: int) -> int:
        """Rows kept of each finished task, at most, once `finished` have ended; 0: none.

        Never more than with fewer tasks: rows that are gone do not come back.
        """

    def old_rows(self, batch_size: int, old: int, current: int) -> int:
        """Rows of finished tasks in a training batch.

        Args:
            batch_size: rows in all.
            old: rows that are kept of all finished tasks together.
            current: rows in the buffer of the task in training.
        """


@runtime_checkable
class Rehearses(Protocol):
    """A protection that sees rows of finished tasks at every update, as `Now.rehearsal`."""

    @property
    def rehearsal(self) -> int:
        """Rows per update, at least 1, drawn over all finished tasks."""


def rows_kept(memory: Memory, finished: int) -> int:
    """Rows that a memory keeps of each task when so many have ended.

    Raises:
        PluginError: it does not say.
    """
    with component_errors("memory", memory):
        count = memory.rows_kept(finished)
    wrong = None if isinstance(count, int) and count >= 0 else f"{count!r:.80}"
    refuse_returned("memory", memory, "rows_kept", "a number of rows, at least 0", wrong)
    return count


def old_rows(memory: Memory, batch_size: int, old: int, current: int) -> int:
    """Rows of finished tasks in a training batch; see `Memory.old_rows`.

    Raises:
        PluginError: the memory does not say, or says more than there is room for.
    """
    with component_errors("memory", memory):
        rows = memory.old_rows(batch_size, old, current)
    wrong = None if isinstance(rows, int) and 0 <= rows <= batch_size else f"{rows!r:.80}"
    refuse_returned("memory", memory, "old_rows", f"0 to {batch_size} rows", wrong)
    return rows


def check_memory_unused(memory: Memory, protections: Sequence[Protection], agent: str) -> None:
    """Sees that nothing is asked of an agent that keeps no rows (`keeps_rows = False`).

    Args:
        memory, protections: of the recipe.
        agent: its class's name.

    Raises:
        RecipeError: a protection rehearses, or the memory would keep rows.
    """
    for each in protections:
        if isinstance(each, Rehearses):
            raise RecipeError(
                f"agent: expected one that keeps rows of finished tasks, for "
                f"{type(each).__name__} rehearses them, got {agent}, which trains on its latest "
                f"batch alone; use sac or td3"
            )
    if rows_kept(memory, 1) > 0:
        raise RecipeError(
            f"memory: expected task, for {agent} trains on its latest batch alone, got "
            f"{type(memory).__name__}; leave it out, or use sac or td3"
        )


def check_memory_serves(
    memory: Memory,
    protections: Sequence[Protection],
    mask: MaskPolicy,
    heads: str,
    values_heads: str,
) -> None:
    """Sees that a memory has what protections ask for, and that training can use what it gives.

    Raises:
        RecipeError: a protection rehearses where nothing is kept, or training batches hold rows
            whose tasks have other sub-networks or heads.
    """
    kind = type(memory).__name__
    rows, trained_on = rows_kept(memory, 1), old_rows(memory, 100, 100, 100)
    for each in protections:
        if isinstance(each, Rehearses) and rows < 1:
            raise RecipeError(
                f"memory: expected one that keeps rows of finished tasks, for "
                f"{type(each).__name__} rehearses them, got {kind}, which keeps none; "
                f"use shelf"
            )
    if trained_on < 1:
        return
    if not shares_everything(mask):
        raise RecipeError(
            f"memory: expected one whose training batches are of the task in training, for its "
            f"sub-network ({type(mask).__name__}) is not that of other tasks' rows, got "
            f"{kind}; use shelf, or mask=dense"
        )
    parts = (
        ("actor.heads", "its head", heads),
        ("agent.values.heads", "its critics' head", values_heads),
    )
    for name, what, which in parts:
        if which != "shared":
            raise RecipeError(
                f"memory: expected one whose training batches are of the task in training, for "
                f"{what} is not that of other tasks' rows, got {kind}; use shelf, or {name}=shared"
            )
