"""The checks of a device hold on the CPU, and a failing one is told and ends the script with 1."""

from __future__ import annotations

import _gpu_checks
import pytest

DEVICE = "cpu"


@pytest.mark.parametrize("check", _gpu_checks.CHECKS, ids=lambda check: check.__name__)
def test_holds_on_the_cpu(check):
    assert check(DEVICE)


def test_a_failure_does_not_end_the_others_and_shows_in_the_exit_code(monkeypatch, capsys):
    def check_nothing(device):
        raise AssertionError("3 bits differ")

    def check_device(device):
        return f"on {device}"

    monkeypatch.setattr(_gpu_checks, "CHECKS", [check_nothing, check_device])
    monkeypatch.setattr("sys.argv", ["_gpu_checks.py", DEVICE])
    with pytest.raises(SystemExit) as end:
        _gpu_checks.main()
    assert end.value.code == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("nothing     FAILED")
    assert first.endswith("AssertionError: 3 bits differ")
    assert second.startswith("device      ok")
    monkeypatch.setattr(_gpu_checks, "CHECKS", [check_device])
    with pytest.raises(SystemExit) as end:
        _gpu_checks.main()
    assert not end.value.code
