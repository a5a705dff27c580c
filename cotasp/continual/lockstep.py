"""Several works in one process: one at a time, until all wait for what is computed together."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from cotasp.continual.randomness import random_state, set_random_state

Meet = Callable[..., Any]  # what a work calls to wait for the others; returns its answer


class _Turns(threading.Thread):
    """A work that runs only while its `turn` is taken, with global random states of its own."""

    def __init__(self, work: Callable[[Meet], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.request: tuple | None = None  # what it waits for
        self.answer: Any = None
        self.outcome: Any = None  # what it returned, or its exception
        self._mine, self._others = threading.Semaphore(0), threading.Semaphore(0)
        self._random = random_state()
        self.start()

    def turn(self) -> None:
        """Goes on until the work waits or has ended."""
        self._mine.release()
        self._others.acquire()

    def run(self) -> None:
        try:
            self._begin()
            self.outcome = self.work(self._meet)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # which hold all that the work had
            self.outcome = error
        finally:
            self.request = None
            self._others.release()

    def _meet(self, *request: Any) -> Any:
        self.request, self.answer, self._random = request, None, random_state()
        self._others.release()
        self._begin()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _begin(self) -> None:
        self._mine.acquire()
        self.request = None
        set_random_state(self._random)


def in_lockstep(
    works: Sequence[Callable[[Meet], Any]], together: Callable[..., Sequence[Any]]
) -> list[Any]:
    """Runs works by turns; whenever all that have not ended wait, computes what they ask for.

    Each work has Python's, NumPy's and torch's global random states to itself.  One that fails
    leaves the others alone; an error of `together` is raised in all that ask.

    Args:
        works: called with a function that waits: `meet(*request)` returns the answer; `meet()`
            asks for nothing, waits for the others all the same, and returns None.
        together: called with the requests' first parts, their second parts, ...; an answer each.

    Returns:
        what each work returned, or its exception.
    """
    before = random_state()
    threads = [_Turns(work) for work in works]
    waiting = threads
    while waiting:
        for thread in waiting:
            thread.turn()
        waiting = [thread for thread in waiting if thread.request is not None]
        asking = [thread for thread in waiting if thread.request]
        for thread, answer in zip(asking, _answers(asking, together), strict=True):
            thread.answer = answer
    set_random_state(before)
    return [thread.outcome for thread in threads]


def _answers(asking: Sequence[_Turns], together: Callable[..., Sequence[Any]]) -> Sequence[Any]:
    """An answer to each request, or the error to raise there."""
    if not asking:
        return ()
    try:
        return together(*map(list, zip(*(thread.request for thread in asking))))
    except Exception as error:
        return [error] * len(asking)
