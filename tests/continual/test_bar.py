"""The progress bar: how often it is drawn, and what its rate counts."""

from __future__ import annotations

import sys

import pytest

from cotasp.continual import loop
from cotasp.continual.bar import SELDOM, progress_bar, write_above
from cotasp.continual.logs import Logs
from tests.continual.runs import tiny


def pass_by(bar, seconds: float) -> None:
    """Lets the bar believe that time has passed."""
    bar.start_t -= seconds
    bar.last_print_t -= seconds


def test_in_a_file_the_bar_is_drawn_seldom(capsys):
    bar = progress_bar(1000, visible=True)
    drawn = []
    for passed in (0.0, SELDOM - 1, 2.0, 0.0):
        pass_by(bar, passed)
        for _ in range(100):
            bar.update(1)
        drawn.append(capsys.readouterr().err.count("step"))
        write_above(bar, "a line")
        assert capsys.readouterr() == ("a line\n", "")
    bar.close()
    assert drawn == [1, 0, 1, 0]


def test_on_a_terminal_the_bar_is_drawn_each_second(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = progress_bar(1000, visible=True)
    pass_by(bar, 2.0)
    bar.update(0)
    assert capsys.readouterr().err.count("step") == 2


def test_the_rate_counts_the_steps_of_this_process(capsys):
    bar = progress_bar(1000, visible=True, done=500)
    pass_by(bar, 50.0)
    bar.update(50)
    assert bar.n == 550
    assert bar.format_dict["rate"] == pytest.approx(1.0, rel=0.1)


def test_a_resumed_run_and_its_bar_go_on_together(out, monkeypatch, capsys):
    made = []

    def kept(*arguments):
        made.append(Logs(*arguments))
        return made[-1]

    monkeypatch.setattr("cotasp.continual.state.Logs", kept)
    loop.resume(out)
    (logs,) = made
    assert logs.bar.initial == 160  # see `out`
    assert logs.bar.n == logs.bar.total == tiny().steps_per_task * 2
    assert capsys.readouterr().err.count("\r") <= 3
