"""What people new to it type and write: each is answered in a sentence, or does what they mean."""

from __future__ import annotations

import csv

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

import cotasp
from cotasp.__main__ import main
from cotasp.errors import RecipeError, RunError
from cotasp.recipe_files import settings_dropped
from cotasp.registry import suggest
from cotasp.storage.tables import CsvFile
from cotasp.sweep.trial import Job
from cotasp.tasks.gym_making import facts
from tests.continual.runs import stopped, tiny
from tests.report.synthetic import make_run, recipe


class Fine(gymnasium.Env):
    """Two observations, one action, nothing to learn."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


class FourValues(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, {}


class BareReset(Fine):
    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32)  # which unpacks into an observation and an info


class Longer(Fine):
    def step(self, action):
        return np.zeros(3, np.float32), 0.0, False, False, {}


class NoReward(Fine):
    def step(self, action):
        return np.zeros(2, np.float32), None, False, False, {}


class Raises(Fine):
    def step(self, action):
        raise OSError("the simulator is asleep")


class Goals(Fine):
    observation_space = Dict({"observation": Box(-1, 1, (2,)), "desired_goal": Box(-1, 1, (2,))})


for made in (Fine, FourValues, BareReset, Longer, NoReward, Raises, Goals):
    gymnasium.register(f"new/{made.__name__}-v0", made, max_episode_steps=5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FourValues", r"its step to return \(observation, .* info\), got tuple of 4"),
        ("BareReset", r"its reset to return \(observation, info\), got ndarray"),
        ("Longer", r"observations of shape \(2,\), as its space says, got \(3,\)"),
        ("NoReward", "expected a number as reward, got NoneType"),
        ("Goals", "expected a Box of observations, got Dict.*FlattenObservation"),
    ],
)
def test_an_environment_of_another_form_is_refused_before_anything_is_made(name, message, tmp_path):
    stream = f"stream={{name: gymnasium, tasks: [{{env: new/{name}-v0, text: a b}}]}}"
    with pytest.raises(RecipeError, match=f"new/{name}-v0.*{message}"):
        cotasp.run(tiny(stream), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_one_that_raises_is_left_to_the_run():
    assert facts("new/Fine-v0") == facts("new/Raises-v0") == (2, 1, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cotasp.load("smoke", "seed=3"), "expected a list of key=value, got the text 'see"),
        (lambda: cotasp.loads("seed: 3", "seed=4"), "expected a list of key=value, got the text"),
        (lambda: cotasp.load(3), "expected the path of a file, got int"),
        (lambda: cotasp.loads({"seed": 3}), "expected YAML text, got dict"),
        (lambda: cotasp.dump("smoke"), r"expected a Recipe, got str; cotasp\.load reads a file"),
        (lambda: cotasp.load("smoke", ["agent=SAC"]), r"unknown agent 'SAC'\. Did you mean 'sac'"),
    ],
)
def test_a_slip_in_a_call_is_told_in_a_sentence(call, message):
    with pytest.raises(RecipeError, match=message):
        call()


def test_names_are_suggested_in_whatever_case():
    assert suggest("PACKNET", ["packnet", "hat"]) == "Did you mean 'packnet'?"
    assert suggest("push-V3", ["push-v3", "Push-V2"]) == "Did you mean 'push-v3'?"


def test_an_axis_of_agents_says_which_settings_it_drops(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show", "smoke", "agent=td3"]) == 0
    said = capsys.readouterr()
    assert "critic:" in said.out
    assert said.err.startswith("note: agent=td3 replaces the component and its settings: ")
    assert "agent.critic, agent.learning_rate, agent.n_step" in said.err
    assert main(["show", "smoke", "agent.gamma=0.8", "encoder=onehot"]) == 0
    assert capsys.readouterr().err == ""

    def stop(*_, **__):
        raise RunError("far enough")

    monkeypatch.setattr("cotasp.sweep.running.run_sweep", stop)
    assert main(["sweep", "smoke", "--axis", "agent=sac,td3", "--out", "s"]) == 1
    *notes, last = capsys.readouterr().err.splitlines()
    assert last == "cotasp: error: far enough"
    assert [note.split()[1] for note in notes] == ["agent=sac", "agent=td3"]


def test_what_is_set_again_is_not_dropped():
    base = {"mask": {"name": "topk", "k": 3}, "agent": "sac"}
    assert settings_dropped(base, {"mask": {"k": 4}, "agent": "td3"}) == []
    assert settings_dropped(base, {"mask": "step"}) == ["mask.k"]
    assert settings_dropped(base, {"mask": {"name": "random"}}) == ["mask.k"]
    assert settings_dropped(base, {"mask": {"name": "random", "k": 4}}) == []


def test_a_run_in_its_first_task_has_curves(tmp_path):
    out = stopped(tmp_path / "run", 75)
    run = cotasp.open_run(out)
    assert [steps for steps, _ in run.curve("success")["right"]] == [0, 50]
    assert run.finished == []
    with pytest.raises(RunError, match="has the run ended"):
        run.table()


def test_names_with_commas_quotes_and_line_ends_stay_whole_in_tables(tmp_path):
    path = tmp_path / "metrics.csv"
    names = ["a,b", 'say "hi"', "two\nlines", "Ü"]
    for step, name in enumerate(names):
        CsvFile(path, ("step", "task", "name", "value")).append([(step, name, "x", 0.1)])
    with open(path, encoding="utf-8", newline="") as file:
        assert [row["task"] for row in csv.DictReader(file)] == names


def test_progress_is_read_from_the_last_whole_row(tmp_path):
    job = Job("t", "", str(tmp_path), "", 900)
    assert job.progress() == 0
    for text, expected in (
        ("step,task,name,value\n", 0),
        ("step,task,name,value\n40,right,train/reward,1.5\n", 40),
        ("step,task,name,value\n40,right,train/reward,1.5\n60,ri", 40),
    ):
        (tmp_path / "metrics.csv").write_text(text)
        assert job.progress() == expected
    ended = make_run(tmp_path / "ended", recipe()) / "summary.json"
    ended.rename(tmp_path / "summary.json")
    assert job.progress() == 900
