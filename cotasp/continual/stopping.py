"""A request to stop: SIGTERM and SIGINT are noted, and heeded where a run can be continued."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, ClassVar

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME = 5.0  # s in which SIGTERM is one request: who stops a sweep's processes stops the sweep, too


class StopRequest:
    """Inside the block, notes the first of these signals; a second one stops at once, but for
    SIGTERM within `SAME` seconds of the first.

    In other threads than the main one, where Python lets nobody handle signals, it hears what a
    block of the main thread does, as long as that lasts.
    """

    _main: ClassVar[StopRequest | None] = None

    def __init__(self) -> None:
        self._noted: signal.Signals | None = None
        self._when = 0.0
        self._in_main = threading.current_thread() is threading.main_thread()
        self._usual: dict[signal.Signals, Any] = {}
        self._outer: StopRequest | None = None

    @property
    def signal(self) -> signal.Signals | None:
        """The signal; None as long as there was none."""
        heard = self if self._in_main else StopRequest._main
        return None if heard is None else heard._noted

    def __enter__(self) -> StopRequest:
        if self._in_main:
            self._usual = {number: signal.signal(number, self._note) for number in SIGNALS}
            self._outer, StopRequest._main = StopRequest._main, self
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is None:
            self._noted, self._when = signal.Signals(number), time.monotonic()
            said = f"\n{self._noted.name}: stopping where it can go on; once more stops at once\n"
            with suppress(OSError):  # whoever sent it may have closed the terminal
                os.write(sys.stderr.fileno(), said.encode())
            return
        if number == self._noted == signal.SIGTERM and time.monotonic() < self._when + SAME:
            return
        self.__exit__()
        os.kill(os.getpid(), number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        self._usual = {}
        if StopRequest._main is self:
            StopRequest._main = self._outer
