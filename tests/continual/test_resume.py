"""A run that was stopped, in whatever way, ends as one that was not: every bit of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from tensordict.nn import TensorDictModule

from cotasp.__main__ import main
from cotasp.continual.branch import origin
from cotasp.continual.collection import Collection
from cotasp.continual.loop import resume, run
from cotasp.continual.opened import open_run
from cotasp.continual.saved import load_run
from cotasp.errors import RecipeError, RunError, RunStopped
from cotasp.recipe import dump
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.rundir import RunDirectory
from cotasp.tasks.point import PointEnv
from cotasp.tasks.point_streams import Point
from tests.continual.runs import contents, send, stopped, tiny

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("at", "place"),
    [(3, "task_01_step_000000010"), (53, "task_01_step_000000060"), (95, "task_01"), (171, None)],
)
def test_stopped_by_a_signal(at, place, undisturbed, tmp_path):
    out = stopped(tmp_path / "run", at)
    assert place in (None, Checkpoints(out).paths()[-1].name)
    assert not (out / "summary.json").exists()
    assert resume(out, progress=False) == json.loads((out / "summary.json").read_text())
    assert contents(out) == contents(undisturbed)


def test_stopped_again_and_again(undisturbed, tmp_path):
    out = stopped(tmp_path / "run", 8)
    for _ in range(30):
        with pytest.MonkeyPatch.context() as patch:
            send(patch, signal.SIGINT, 25)
            try:
                resume(out, progress=False)
                break
            except RunStopped:
                pass
    assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize(
    "override",
    [
        "protection=none",
        "agent.execution=dense",
        "agent.values={carry: weights}",
        "logger=tensorboard",
        "stream={name: gymnasium, horizon: 7, "
        "tasks: [{env: Pendulum-v1, text: a, success_return: -100}]}",
        "stream={name: point, goals: [right, left], horizon: 14, action_repeat: 2}",
        ("stream={name: point, goals: [right, left], horizon: 7, together: 2}", "mask=dense"),
        "task_input=text",
        "agent={actor_average: 0.9, final_learning_rate: 0.5, noise_correlation: 0.7, n_step: 4}",
    ],
)
def test_every_choice(override, tmp_path):
    """Stopped in the first of two short tasks, once there are updates and a checkpoint.

    The choices that are components: `tests/test_guarantees.py`.
    """
    overrides = [override] if isinstance(override, str) else override
    overrides = [*overrides, "steps_per_task=60", "evaluation.every=30"]
    run(tiny(*overrides), tmp_path / "undisturbed", progress=False)
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        from cotasp.continual.collection import Collection

        collect, count = Collection.collect, []

        def counted(self, steps):
            count.append(1)
            if len(count) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return collect(self, steps)

        patch.setattr(Collection, "collect", counted)
        with pytest.raises(RunStopped):
            run(tiny(*overrides), out, progress=False)
    resume(out, progress=False)
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_signals_are_python_s_own_again_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stopped(tmp_path / "run", 3)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch):
    send(monkeypatch, signal.SIGINT, 3, 5)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", progress=False)


def test_exit_codes_and_last_lines(undisturbed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(dump(tiny()))
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with pytest.MonkeyPatch.context() as patch:
            send(patch, number, 15)
            out = f"run{code}"
            assert main(["run", "tiny.yaml", "--quiet", "--out", out]) == code
        assert capsys.readouterr().err == (
            f"cotasp: stopped by {number.name} in task 'right' after 20 steps; go on with "
            f"`cotasp resume {out}`\n"
        )
        assert main(["resume", out, "--quiet"]) == 0
        assert "done: 200 steps" in capsys.readouterr().out
        assert contents(Path(out)) == contents(undisturbed)
        assert main(["resume", out, "--quiet"]) == 0
        assert capsys.readouterr().out.startswith(f"{out}: this run has ended; ")


@pytest.mark.slow
def test_killed_for_real():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kill.py", "--kills", "3", "--steps", "200"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills over" in done.stdout


def test_nothing_was_saved_before_the_kill(undisturbed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        send(patch, signal.SIGINT, 33, 34)
        with pytest.raises(KeyboardInterrupt):
            run(tiny("checkpoint_every=100"), tmp_path / "run", progress=False)
    assert not Checkpoints(tmp_path / "run").paths()
    with pytest.warns(UserWarning, match="there is no checkpoint"):
        resume(tmp_path / "run", progress=False)
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_a_finished_run_is_left_as_it_is(undisturbed):
    before = {
        p: p.read_bytes() for p in undisturbed.rglob("*") if p.name != ".lock" and p.is_file()
    }
    summary = resume(undisturbed, progress=False)
    assert summary == json.loads((undisturbed / "summary.json").read_text())
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_last_two_checkpoints_and_all_boundaries_are_kept(tmp_path):
    out = stopped(tmp_path / "run", 185)
    names = [path.name for path in Checkpoints(out).paths()]
    assert names == ["task_01", "task_02_step_000000080", "task_02_step_000000090"]
    rows = sorted(p.relative_to(out).as_posix() for p in (out / "checkpoints/rows").rglob("*.*"))
    assert [row.rpartition("/")[2][:19] for row in rows] == [
        # the buffer holds 70 rows, 28 to 98: two wait for steps that never come
        *(f"{i:09d}-{i + 20:09d}" for i in (18, 38, 58, 78)),
        "000000000-000000018",
        *(f"{i:09d}-{i + 20:09d}" for i in (18, 38, 58)),
        "000000078-000000088",
    ]


def test_a_run_in_the_middle_of_a_task_can_be_evaluated(tmp_path):
    out = stopped(tmp_path / "run", 155)
    _, _, learner = load_run(out)
    assert learner.actor.in_training
    for task in ("right", "left"):
        assert len(open_run(out).evaluate(task=task).success) == 3


def test_two_processes_on_one_run(tmp_path):
    out = stopped(tmp_path / "run", 15)
    refused = pytest.raises(RunError, match=rf"run: process {os.getpid()} is at work on this run")
    with RunDirectory.open(out).locked(), refused:
        resume(out, progress=False)
    resume(out, progress=False)


def test_the_peak_of_memory_is_that_of_all_processes(tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cotasp.continual.state.peak_memory", lambda: 2**50)
        out = stopped(tmp_path / "run", 15)
    resume(out, progress=False)
    assert json.loads((out / "timing.json").read_text())["peak_memory_bytes"] == 2**50


def test_what_a_run_began_with_is_not_guessed(tmp_path, capsys):
    out = stopped(tmp_path / "run", 115)
    stamp = json.loads((out / "protocol.json").read_text())
    damages = {
        "[1]": "damaged, expected a mapping",
        json.dumps({**stamp, "versions": None}): "damaged, versions is no mapping",
        json.dumps({**stamp, "baseline": [1]}): "damaged, baseline is no mapping",
        json.dumps({**stamp, "baseline": {"right": "good"}}): "damaged, the baseline of a task",
        "[" * 99_999: "damaged, cannot be read",
    }
    for content, told in damages.items():
        (out / "protocol.json").write_text(content)
        for verb in ("resume", "evaluate"):
            assert main([verb, str(out)]) == 1
            assert f"protocol.json: {told}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        ("\nseed: 0\n", "\nseed: 5\n", "seed: 0 then, 5 now"),
        ("n_step: 3", "n_step: 2", "agent.n_step: 3 then, 2 now"),
    ],
)
def test_another_recipe_than_it_began_with_is_refused(then, now, told, tmp_path, capsys):
    out = stopped(tmp_path / "run", 115)  # one task is finished
    recipe = out / "recipe.yaml"
    text = recipe.read_text()
    assert text.count(then) == 1
    recipe.write_text(text.replace(then, now))
    export = ["export", "--task", "right", "--out", str(tmp_path / "right.pt2")]
    for verb in (["resume"], ["evaluate"], ["prompt", "Right."], export):
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != ".lock"}
        assert main([verb[0], str(out), *verb[1:]]) == 1
        assert f"recipe.yaml: changed since the run began ({told}); put that back" in (
            capsys.readouterr().err
        )
        assert all(path.read_bytes() == content for path, content in before.items())
    with pytest.raises(RunError, match="changed since the run began"):
        run(tiny(), tmp_path / "next", source=f"{out}@1", progress=False)
    assert not (tmp_path / "next").exists()
    recipe.write_text(text)
    resume(out, progress=False)


def test_what_no_result_depends_on_may_change(undisturbed, tmp_path):
    out = stopped(tmp_path / "run", 53)
    text = (out / "recipe.yaml").read_text()
    assert "faults: stop" in text
    (out / "recipe.yaml").write_text(
        text.replace("faults: stop", "faults: skip").replace("question:", "question: Why? #")
    )
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_other_versions_are_told(tmp_path):
    out = stopped(tmp_path / "run", 15)
    stamp = json.loads((out / "protocol.json").read_text())
    stamp["versions"]["torch"] = "1.0"
    (out / "protocol.json").write_text(json.dumps(stamp))
    with pytest.warns(UserWarning, match=r"begun with other versions \(torch 1.0 -> "):
        resume(out, progress=False)


class TestThreads:
    SHORT = "stream.goals=[right]", "steps_per_task=40", "evaluation.every=40"

    @pytest.fixture(autouse=True)
    def one_again(self):
        yield
        torch.set_num_threads(1)

    def test_a_run_goes_on_with_as_many_as_it_began(self, tmp_path, capsys):
        torch.set_num_threads(2)
        out = stopped(tmp_path / "run", 15, *self.SHORT)
        torch.set_num_threads(1)
        assert main(["resume", str(out), "--quiet"]) == 0
        assert torch.get_num_threads() == 2
        assert "(2 threads)" in capsys.readouterr().out

    def test_others_are_told(self, tmp_path):
        out = stopped(tmp_path / "run", 15, *self.SHORT)
        with pytest.warns(UserWarning, match="with 1 threads of torch and not 2: sums round"):
            assert main(["resume", str(out), "--quiet", "--threads", "2"]) == 0

    @pytest.mark.parametrize("threads", ["many", 0, -1, 10**9, True, None, 2.0])
    def test_a_stamp_that_asks_for_nonsense(self, threads, out):
        stamp = json.loads((out / "protocol.json").read_text())
        (out / "protocol.json").write_text(json.dumps({**stamp, "threads": threads}))
        assert RunDirectory.open(out).threads() == 1


def test_an_environment_that_cannot_be_brought_back_begins_a_new_episode(tmp_path, monkeypatch):
    out = stopped(tmp_path / "run", 15)
    monkeypatch.setattr(PointEnv, "state_dict", lambda self: {})
    again = stopped(tmp_path / "again", 15)
    with warnings.catch_warnings():
        resume(out, progress=False)
    with pytest.warns(UserWarning, match="PointEnv has no state_dict; a new episode begins"):
        resume(again, progress=False)


def test_such_an_episode_is_another_with_each_seed(monkeypatch):
    task = Point(goals=("right",)).make_tasks()[0]
    monkeypatch.setattr(PointEnv, "state_dict", lambda self: {})
    policy = TensorDictModule(lambda x: x[..., :2], ["observation"], ["action"])
    first = []
    for seed in (0, 0, 1):
        before, after = (Collection(task.make_env(), policy, "right", seed=seed) for _ in range(2))
        before.collect(7)
        with pytest.warns(UserWarning, match="a new episode begins"):
            after.load_state_dict(before.state_dict())
        first.append(after.collect(1)["observation"])
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


class TestBranching:
    def test_the_same_recipe_ends_the_same(self, undisturbed, tmp_path):
        for i, source in enumerate((f"{undisturbed}@1", f"{undisturbed}@right")):
            run(tiny(), tmp_path / str(i), source=source, progress=False)
            assert contents(tmp_path / str(i)) == contents(undisturbed)
        stamp = json.loads((tmp_path / "0" / "protocol.json").read_text())
        boundary = Checkpoints(undisturbed).paths()[0]
        assert stamp["begun_from"]["run"] == f"{undisturbed}@1"
        assert len(stamp["begun_from"]["content"]) == 64
        named = json.loads((tmp_path / "1" / "protocol.json").read_text())["begun_from"]
        assert named == stamp["begun_from"] | {"run": f"{undisturbed}@right"}
        assert named["finished"] == 1
        assert boundary.name == "task_01"
        summary = json.loads((tmp_path / "0" / "summary.json").read_text())
        assert summary["begun_from"] == stamp["begun_from"]
        assert "begun_from" not in json.loads((undisturbed / "summary.json").read_text())

    def test_metrics_that_the_source_has_lost_are_told(self, undisturbed, tmp_path):
        source = Path(shutil.copytree(undisturbed, tmp_path / "source"))
        (source / "metrics.csv").unlink()
        with pytest.warns(UserWarning, match=r"metrics.csv: expected \d+ bytes, found 0; what is"):
            run(tiny(), tmp_path / "run", source=f"{source}@1", progress=False)
        whole = (undisturbed / "metrics.csv").read_text().splitlines()
        kept = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
        assert kept[0] == whole[0]
        assert kept[1:] == whole[-len(kept[1:]) :]
        assert (tmp_path / "run" / "episodes.csv").read_bytes() == (
            undisturbed / "episodes.csv"
        ).read_bytes()

    def test_what_comes_next_may_be_another_thing(self, undisturbed, tmp_path):
        recipe = tiny("stream.goals=[right, top, left]", "protection=none", "agent.tau=0.1")
        summary = run(recipe, tmp_path / "run", source=f"{undisturbed}@1", progress=False)
        assert summary["tasks"] == ["right", "top", "left"]
        first = json.loads((undisturbed / "summary.json").read_text())
        assert summary["task_facts"]["right"] == first["task_facts"]["right"]
        longer = tiny("stream.goals=[right, left, top]")
        summary = run(longer, tmp_path / "longer", source=f"{undisturbed}@2", progress=False)
        assert summary["per_task"]["plasticity"][:2] == first["per_task"]["plasticity"]
        assert summary["evaluations"]["trained"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    def test_what_it_began_with_is_told_whatever_the_seed(self, undisturbed, tmp_path):
        run(tiny(), tmp_path / "branch", source=f"{undisturbed}@1", progress=False)
        source, branch = RunDirectory.open(undisturbed), RunDirectory.open(tmp_path / "branch")
        same = origin(source, tiny(), 1)
        assert same == origin(source, tiny("seed=7"), 1)
        assert same["recipe"] != origin(source, tiny("protection=none"), 1)["recipe"]
        # one that began so itself is another to begin from
        assert same["recipe"] != origin(branch, tiny(), 1)["recipe"]

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["actor.hidden=[24, 21]"], r"actor.hidden: \[24, 20\] there, \[24, 21\] here"),
            (["seed=1"], "seed: 0 there, 1 here"),
            (["agent.critic.hidden=[9]"], r"agent.critic.hidden: \[8, 8\] there, \[9\] here"),
            (["stream.goals=[top, left]"], "task 1: right, .* there, top, "),
            (["stream.horizon=9"], "stream horizon: 7 there, 9 here"),
            (["encoder=onehot", "dictionary.lmbda=0.1"], "encoder.name.*; dictionary.lmbda"),
            (["stream.goals=[right]"], "expected a task after the 1 finished"),
        ],
    )
    def test_what_must_agree_is_named(self, overrides, message, undisturbed, tmp_path):
        with pytest.raises(RecipeError, match=message):
            run(tiny(*overrides), tmp_path / "run", source=f"{undisturbed}@1", progress=False)
        assert not (tmp_path / "run").exists()

    def test_distilling_needs_what_the_source_kept(self, tmp_path):
        none = "agent.distillation_updates=0"
        run(tiny(none, "stream.goals=[right]"), tmp_path / "source", progress=False)
        source = f"{tmp_path / 'source'}@1"
        with pytest.raises(RecipeError, match=r"distillation_updates: expected 0, got 3: that run"):
            run(tiny(), tmp_path / "run", source=source, progress=False)
        assert not (tmp_path / "run").exists()
        run(tiny(none), tmp_path / "run", source=source, progress=False)

    @pytest.mark.parametrize(
        ("task", "error", "message"),
        [
            ("", RecipeError, "expected DIR@TASK"),
            ("3", RecipeError, "1 to 2, or the name of the last of them: right, left"),
            ("up", RecipeError, "1 to 2"),
        ],
    )
    def test_a_task_that_is_not_there(self, task, error, message, undisturbed, tmp_path):
        with pytest.raises(error, match=message):
            run(tiny(), tmp_path / "run", source=f"{undisturbed}@{task}", progress=False)

    def test_a_task_that_has_not_ended(self, tmp_path):
        out = stopped(tmp_path / "source", 50)
        with pytest.raises(RunError, match=r"task_01 is not there; has that task ended\?"):
            run(tiny(), tmp_path / "run", source=f"{out}@1", progress=False)
        assert main(["run", str(ROOT / "recipes/smoke.yaml"), "--from", "nowhere"]) == 2


def test_a_task_that_is_recalled_is_evaluated_and_trains_nothing(tmp_path):
    """With the bits of its first visit, and stopped before it as undisturbed."""
    overrides = "stream.goals=[right,left,right,top]", "stream.returning=recall"
    summary = run(tiny(*overrides), tmp_path / "whole", progress=False)
    assert summary["steps"] == 300
    first, _, again, _ = summary["episode_return"]
    assert [value for value in again if value is not None] == [first[-1]] * 4
    rows = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()
    at = [row.split(",")[0] for row in rows if ",right#2,evaluation/success," in row]
    assert at == ["200", "250", "300", "400"]
    out = stopped(tmp_path / "stopped", 195, *overrides)
    resume(out, progress=False)
    assert contents(out) == contents(tmp_path / "whole")
