"""Who hears a request to stop."""

from __future__ import annotations

import os
import signal
import threading

from cotasp.continual import stopping
from cotasp.continual.stopping import StopRequest


def heard_in_a_thread() -> list[signal.Signals | None]:
    """What a block in another thread hears."""
    heard = []

    def listen() -> None:
        with StopRequest() as stop:
            heard.append(stop.signal)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    return heard


def test_threads_hear_what_the_main_thread_does_also_after_an_inner_block():
    usual = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        with StopRequest():
            pass
        assert heard_in_a_thread() == [None]
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM
        assert heard_in_a_thread() == [signal.SIGTERM]
    assert heard_in_a_thread() == [None]
    assert signal.getsignal(signal.SIGTERM) is usual


def test_sigterm_soon_after_sigterm_is_the_same_request_and_later_stops_at_once():
    """A sweep passes it on to trials that may have had it themselves."""
    stopped = []
    usual = signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.signal is signal.SIGTERM
            assert not stopped
            stop._when -= stopping.SAME
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopped
    finally:
        signal.signal(signal.SIGTERM, usual)
