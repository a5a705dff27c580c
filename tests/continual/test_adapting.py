"""Few-shot adaptation: what it takes over, what it measures, what it refuses."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import torch

import cotasp
from cotasp.__main__ import main
from cotasp.continual.adapting import adapt, finished_tasks, learning, longer
from cotasp.continual.loop import run
from cotasp.errors import RecipeError
from cotasp.recipe import loads
from cotasp.tasks.streams import Extensible
from tests.continual.runs import contents, send, tiny


def test_a_new_task_is_learned_from_the_run_and_the_run_stays(undisturbed, tmp_path, capsys):
    before, out = contents(undisturbed), tmp_path / "out"
    argv = ["adapt", str(undisturbed), "--env", "top", "--text", "Climb the hill.", "--steps", "60"]
    assert main([*argv, "--baseline", "--quiet", "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split(": ")[1] == "'Climb the hill.' means no finished task for sure"
    assert [line.split()[0] for line in printed[-3:]] == ["adapted", "fresh", "done:"]
    assert contents(undisturbed) == before

    found = json.loads((out / "adapt.json").read_text())
    assert (found["env"], found["text"], found["finished_tasks"]) == ("top", "Climb the hill.", 2)
    for name in ("adapted", "fresh"):
        assert found[name]["steps"][-1] == 60
        assert found[name]["steps"][0] == 0
        assert len(found[name]["steps"]) == len(found[name]["success"]) == 7
        mean = sum(found[name]["success"][1:]) / 6
        assert found[name]["area_under_curve"] == pytest.approx(mean, abs=1e-6)

    adapted, original = cotasp.open_run(out / "adapted"), cotasp.open_run(undisturbed)
    assert [task.name for task in adapted.tasks] == ["right", "left", "top"]
    rows = torch.linspace(-1, 1, 40).reshape(10, 4)
    for task in ("right", "left"):  # nothing was forgotten on the way
        ours, theirs = (run.policy(task=task).module.policy(rows)[0] for run in (adapted, original))
        assert torch.equal(ours, theirs)
    assert [task.name for task in cotasp.open_run(out / "fresh").tasks] == ["top"]

    assert main([*argv, "--quiet", "--out", str(out)]) == 1
    assert "choose another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--env", "topp", "--steps", "60"], "Did you mean 'top'?"),
        (["--env", "top", "--text", " ", "--steps", "60"], "adapt: expected a text that describes"),
        (["--env", "top", "--steps", "20"], "agent.warmup_steps: expected fewer than the 20"),
        (["--env", "top", "--steps", "0"], "steps_per_task: expected at least 1, got 0"),
        (["--env", "top", "--steps", "7"], "got 7; --steps 30 do"),
        (
            ["--env", "top", "--steps", "60", "--success-return", "3"],
            "adapt: a Point judges its tasks itself; leave out success_return",
        ),
    ],
)
def test_refusals_leave_nothing(undisturbed, tmp_path, more, message, capsys):
    out = tmp_path / "out"
    assert main(["adapt", str(undisturbed), *more, "--out", str(out), "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


GYM = "{name: gymnasium, tasks: [{env: Pendulum-v1, text: Swing up.}]}"


@pytest.mark.parametrize(
    ("stream", "env"),
    [
        ("cw10", "door-open-v3"),
        ("cw20", "door-open-v3"),
        ("{name: metaworld, tasks: [push-v3, reach-v3]}", "door-open-v3"),
        ("{name: point, goals: [left]}", "top"),
        (GYM, "Pendulum-v1"),
    ],
)
def test_streams_take_another_task_under_a_text_of_its_own(stream, env):
    recipe = loads(f"{{stream: {stream}}}")
    assert isinstance(recipe.stream, Extensible)
    one, two = (recipe.stream.followed_by(n, env, "Do it.").make_tasks() for n in (0, 1))
    assert [(task.env, task.text) for task in one] == [(env, "Do it.")]
    assert two[0].texts == recipe.stream.make_tasks()[0].texts
    assert (two[1].env, two[1].text) == (env, "Do it.")
    assert cotasp.loads(cotasp.dump(longer(recipe, 1, env, "Do it.", 40_000))).stream.make_tasks()


def test_checkpoints_within_a_tasks_end_count_no_task(tmp_path):
    for name in ("task_02", "task_03_step_000000100", "task_03_end_000000150"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert finished_tasks(tmp_path) == 2


def test_a_stream_that_takes_none_is_refused():
    with pytest.raises(RecipeError, match="adapt: a PointGoals takes no other task"):
        longer(tiny("stream={name: point_goals, horizon: 7}"), 1, "top", None, 60)
    with pytest.raises(RecipeError, match="Gymnasium: expected a text for Pendulum-v1"):
        loads(f"{{stream: {GYM}}}").stream.followed_by(0, "Pendulum-v1", None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder={name: tfidf, dim: 16}"], "adapt: with the encoder TfIdf one more text changes"),
        (["actor.heads=per_task"], "adapt: this run's network has a head for each of its tasks"),
        (
            [
                "agent={name: comps, ppo: {num_envs: 1}, meta: {updates: 2, batch_size: 8}}",
                *("mask=dense", "protection=none", "dictionary.update=frozen"),
            ],
            "adapt: a CoMPS has no prompts",
        ),
    ],
    ids=["encoder", "heads", "comps"],
)
def test_runs_that_no_task_can_follow_are_refused_before_anything_is_made(
    overrides, message, tmp_path
):
    short = "steps_per_task=40", "evaluation.every=40"
    run(tiny(*short, *overrides), tmp_path / "run", progress=False)
    with pytest.raises(RecipeError, match=message):
        adapt(tmp_path / "run", "top", tmp_path / "out", steps=60, baseline=True, progress=False)
    assert not (tmp_path / "out").exists()


def test_the_same_command_goes_on_with_what_was_stopped(undisturbed, tmp_path, monkeypatch, capsys):
    argv = ["adapt", str(undisturbed), "--env", "top", "--steps", "60", "--baseline", "--quiet"]
    assert main([*argv, "--out", str(tmp_path / "whole")]) == 0
    out = tmp_path / "out"
    for step, place in ((35, "adapted"), (60, "fresh")):  # of this attempt's training
        with monkeypatch.context() as patch:
            send(patch, signal.SIGTERM, step)
            assert main([*argv, "--out", str(out)]) == 143
        told = capsys.readouterr().err
        assert f"go on with `cotasp resume {out / place}`, or with all that is left by the " in told
    assert main(["adapt", *argv[1:4], "--steps", "90", "--quiet", "--out", str(out)]) == 1
    assert f"{out / 'adapted'}: holds a run that another command began" in capsys.readouterr().err
    assert main([*argv, "--out", str(out)]) == 0
    whole, again = ((tmp_path / each / "adapt.json").read_bytes() for each in ("whole", "out"))
    assert whole == again
    assert contents(out / "adapted") == contents(tmp_path / "whole" / "adapted")
    assert main([*argv, "--out", str(out)]) == 1
    assert "an adaptation has ended there; choose another" in capsys.readouterr().err

    (out / "adapt.json").unlink()
    shutil.rmtree(out / "adapted")
    (out / "adapted").mkdir()
    (out / "adapted" / "mine.txt").touch()
    assert main([*argv, "--out", str(out)]) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert (out / "adapted" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("success", "steps"), [([0.95, 1.0, 1.0], 0.0), ([0.0, 0.5, 1.0], 60), ([0.1, 0.2, 0.3], None)]
)
def test_no_step_is_needed_where_the_first_evaluation_is_there(success, steps):
    summary = {
        "tasks": ["right", "top"],
        "evaluations": {"trained": [0, 1, 1, 1], "task_steps": [40, 0, 30, 60]},
        "success": [[1.0, 1.0, 1.0, 1.0], [1.0, *success]],
        "per_task": {
            "area_under_curve": [1.0, 0.5],
            "steps_to_threshold": [30, 60],
            "reached": [1.0, float(max(success[1:]) >= 0.9)],
            "performance": [1.0, success[-1]],
        },
    }
    assert learning(summary, 0.9)["steps_to_threshold"] == steps


def test_by_which_return_a_new_task_is_judged_is_passed_on(undisturbed, tmp_path, monkeypatch):
    asked = []

    def adapt(*args, **options):
        asked.append((options["return_range"], options["success_return"]))
        raise RecipeError("enough")

    monkeypatch.setattr("cotasp.continual.adapting.adapt", adapt)
    argv = [
        "adapt",
        str(undisturbed),
        "--env",
        "top",
        "--steps",
        "60",
        "--out",
        str(tmp_path / "o"),
    ]
    for more in ([], ["--return-range", "-60", "-5"], ["--success-return", "-20"]):
        assert main([*argv, *more]) == 2
    assert main([*argv, "--return-range", "-60", "-5", "--success-return", "-20"]) == 2
    assert asked == [(None, None), ((-60.0, -5.0), None), (None, -20.0)]
    recipe = loads(
        "{stream: {name: gymnasium, tasks: [{env: Pendulum-v1, text: Up., return_range: [-9, 0]}]}}"
    )
    new = longer(recipe, 1, "MountainCarContinuous-v0", "Go.", 40_000, return_range=(0.0, 100.0))
    assert new.stream.tasks[1].return_range == (0.0, 100.0)
