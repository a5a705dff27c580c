"""Simulators that fail, and numbers that are not finite: what a run does then, and after."""

from __future__ import annotations

import math

import pytest
import torch

from cotasp.__main__ import main
from cotasp.continual.loop import resume, run
from cotasp.errors import RunError
from cotasp.storage.checkpoints import Checkpoints
from cotasp.tasks.point import PointEnv
from tests.continual.runs import contents, tiny, training_steps


def spoilt_at(monkeypatch, key: str, value: float, *steps: int) -> None:
    def then(step, data):
        if step in steps:
            data[key] = torch.full_like(data[key], value)

    training_steps(monkeypatch, then)


@pytest.mark.parametrize("key", ["reward", "observation"])
def test_the_checkpoint_from_before_stays(key, undisturbed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        spoilt_at(patch, key, math.nan, 47)
        message = rf"task 'right', step 47: .*{key} that is not finite"
        with pytest.raises(RunError, match=message):
            run(tiny(), tmp_path / "run", progress=False)
    assert Checkpoints(tmp_path / "run").paths()[-1].name == "task_01_step_000000040"
    resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)


@pytest.mark.parametrize(
    "where", ["actor.sub.network", "values.network", "actor.code", "values._numbers.0"]
)
def test_a_parameter_that_is_not_finite_stops_the_run(where, tmp_path, monkeypatch):
    from cotasp.agents import off_policy

    learn = off_policy.OffPolicyLearner.learn

    def spoils(self, data):
        losses = learn(self, data)
        if self.steps == 50:
            target = self
            for name in where.split("."):
                target = target[0] if name == "0" else getattr(target, name)
            parameter = target if isinstance(target, torch.Tensor) else next(target.parameters())
            parameter.data.view(-1)[0] = math.nan
        return losses

    monkeypatch.setattr(off_policy.OffPolicyLearner, "learn", spoils)
    with pytest.raises(RunError, match=r"task 'right'.* (is nan at|is not finite)"):
        run(tiny("evaluation.every=100"), tmp_path / "run", progress=False)
    assert Checkpoints(tmp_path / "run").paths()[-1].name == "task_01_step_000000040"


def test_a_state_that_is_not_finite_is_not_saved(tmp_path, monkeypatch):
    from cotasp.prompting.prompter import Prompter

    end_task = Prompter.end_task

    def spoils(self, *pair):
        report = end_task(self, *pair)
        self.dictionaries[0].A.fill_(math.inf)
        return report

    monkeypatch.setattr(Prompter, "end_task", spoils)
    with pytest.raises(
        RunError, match=r"after task 1 of 2: learner/actor/prompter/.*A is not finite"
    ):
        run(tiny("dictionary.update=frozen"), tmp_path / "run", progress=False)
    assert Checkpoints(tmp_path / "run").paths()[-1].name == "task_01_step_000000080"


def test_isolated_faults_can_be_skipped(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        spoilt_at(patch, "reward", math.inf, 13, 44, 120)
        summary = run(tiny("faults=skip"), tmp_path / "run", progress=False)
    assert summary["simulator_faults"] == 3
    assert summary["steps"] == 200


def test_an_environment_that_raises_is_a_fault_too(tmp_path, monkeypatch):
    def then(step, data):
        if step in (13, 14):
            raise ArithmeticError("unstable")

    message = r"task 'right', step 13: the environment failed: ArithmeticError\('unstable'\)"
    training_steps(monkeypatch, then)
    with pytest.raises(RunError, match=message):
        run(tiny(), tmp_path / "run", progress=False)
    monkeypatch.undo()
    training_steps(monkeypatch, then)
    assert run(tiny("faults=skip"), tmp_path / "on", progress=False)["simulator_faults"] == 2


def test_faults_that_are_not_isolated_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("cotasp.continual.collection.ISOLATED", 5)
    spoilt_at(monkeypatch, "observation", math.nan, *range(30, 60))
    with pytest.raises(RunError, match=r"step 30: .*6 faults are no isolated ones"):
        run(tiny("faults=skip"), tmp_path / "run", progress=False)


def faulty_resets(monkeypatch, kind: str, *at: int) -> None:
    """Spoils those resets of training, counted from 1; none named: all."""
    reset, count = PointEnv._reset, [0]

    def broken(self, *rest, **more):
        out = reset(self, *rest, **more)
        count[0] += not self.batch_size
        if self.batch_size or (at and count[0] not in at):
            return out
        if kind == "raises":
            raise ValueError("no contact model")
        return out.set("observation", out["observation"] * math.nan)

    monkeypatch.setattr(PointEnv, "_reset", broken)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("raises", r"the environment failed: ValueError\('no contact model'\)"),
        ("nan", "the environment returned an observation that is not finite from its reset"),
    ],
)
class TestResets:
    @pytest.mark.parametrize(("at", "step"), [(1, 1), (2, 7)])
    def test_a_fault_stops_the_run_with_task_and_step(self, at, step, kind, what, tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            faulty_resets(patch, kind, at)
            with pytest.raises(RunError, match=rf"^task 'right', step {step}: {what}; the run"):
                run(tiny(), tmp_path / "run", progress=False)

    def test_isolated_ones_can_be_skipped(self, kind, what, tmp_path, monkeypatch):
        faulty_resets(monkeypatch, kind, 1, 2, 3, 9)
        summary = run(tiny("faults=skip"), tmp_path / "run", progress=False)
        assert summary["simulator_faults"] == 4

    def test_others_stop_the_run(self, kind, what, tmp_path, monkeypatch):
        faulty_resets(monkeypatch, kind)
        with pytest.raises(RunError, match=rf"step 1: {what}; 101 faults are no isolated ones"):
            run(tiny("faults=skip"), tmp_path / "run", progress=False)


def test_evaluation_finds_it_too(tmp_path, monkeypatch):
    step = PointEnv._step

    def broken(self, tensordict):
        out = step(self, tensordict)
        if self.batch_size:
            out["observation"] = out["observation"] * math.nan
        return out

    monkeypatch.setattr(PointEnv, "_step", broken)
    with pytest.raises(RunError, match=r"evaluation of task 'right': an observation is not finite"):
        run(tiny(), tmp_path / "run", progress=False)


def test_episodes_that_a_run_skips_are_skipped_when_it_is_asked(tmp_path, monkeypatch, capsys):
    """By the commands as in the run: an environment that fails in every second evaluation."""
    run(tiny("faults=skip"), tmp_path / "run", progress=False)
    reset, count = PointEnv._reset, [0]

    def broken(self, *rest, **more):
        count[0] += bool(self.batch_size)
        if self.batch_size and count[0] % 2:
            raise ValueError("no contact model")
        return reset(self, *rest, **more)

    monkeypatch.setattr(PointEnv, "_reset", broken)
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--task", "right", "--episodes", "3"]) == 0
    words = ["--env", "top", "--text", "Climb.", "--steps", "60", "--quiet"]
    assert main(["adapt", str(tmp_path / "run"), *words, "--out", str(tmp_path / "out")]) == 0
    assert "done: " in capsys.readouterr().out
