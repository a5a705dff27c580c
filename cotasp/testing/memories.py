"""What memories promise."""

from __future__ import annotations

import torch

from cotasp.methods.agem import AGEM
from cotasp.methods.freeze import Unprotected
from cotasp.methods.memories.task import TaskOnly
from cotasp.methods.memory import Memory
from cotasp.modules.masks import Dense
from cotasp.testing._ensure import ensure
from cotasp.testing._toy import ensure_resumes, first_difference, tensors, toy, train


def check_memory(memory: Memory) -> None:
    """Checks what is kept and drawn, that the first task is that of a learner that keeps nothing,
    that rows for rehearsal alone change no later one either, and that rows survive a stop.

    Args:
        memory: keeps some tens of rows.

    Raises:
        AssertionError: a promise of `cotasp.methods.memory.Memory` is broken.
    """
    counts = [memory.rows_kept(n) for n in range(1, 20)]
    ensure(min(counts) >= 0, f"rows are kept or not, got {min(counts)}")
    ensure(counts == sorted(counts, reverse=True), "rows that are gone do not come back")
    ensure(memory.old_rows(32, 0, 50) == 0, "the first task has the whole batch")
    for old, current in ((50, 0), (50, 50), (10**9, 1)):
        rows = memory.old_rows(32, old, current)
        ensure(0 <= rows <= 32, f"a batch of 32 has 0 to 32 old rows, got {rows}")

    plain, learner = (
        toy(memory=each, mask=Dense(), protections=(Unprotected(),))
        for each in (TaskOnly(), memory)
    )
    rehearsal_alone = memory.old_rows(32, 50, 50) == 0
    for task in range(2 if rehearsal_alone else 1):
        ends = []
        for each in (plain, learner):
            torch.manual_seed(task)
            train(each, task)
            ends.append(tensors(each, "/kept"))
        place = first_difference(*ends)
        ensure(place is None, f"task {task} is that of a learner that keeps nothing: {place}")
    protection = AGEM(rehearsal=8) if counts[0] else Unprotected()
    ensure_resumes("this memory", memory=memory, mask=Dense(), protections=(protection,))
