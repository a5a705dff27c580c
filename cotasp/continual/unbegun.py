"""A run that fails before its first step leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cotasp.continual.state import RunState
from cotasp.errors import RunError, RunStopped
from cotasp.storage.rundir import RunDirectory


@contextmanager
def nothing_left(
    directory: RunDirectory, keep_folder: bool
) -> Iterator[Callable[[RunState], None]]:
    """Removes a new run's files when it fails inside before its first step.

    Where a file could not be written they stay, and its error says so.

    Args:
        directory: of the run, locked.
        keep_folder: see `RunDirectory.discard`.

    Yields:
        what is to be told the run's state, once there is one.
    """
    states: list[tuple[RunState, int]] = []
    try:
        yield lambda state: states.append((state, state.steps))
    except RunStopped:
        raise
    except Exception as error:
        unwritten = type(error) is RunError and isinstance(error.__cause__, OSError)
        if not unwritten and not any(state.steps > before for state, before in states):
            directory.discard(keep_folder)
        raise
