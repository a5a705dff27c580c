"""A run opened: sentences, verdicts and policies."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

import cotasp
from cotasp.__main__ import main
from cotasp.continual.curves import read_curves
from cotasp.continual.loop import run
from cotasp.errors import RecipeError, RunError
from cotasp.tasks.texts import GOALS, phrasings
from tests.continual.runs import stopped, tiny


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("opened") / "run"
    run(tiny("encoder=sbert", "stream.phrasings=true"), out, progress=False)
    return out


@pytest.fixture(scope="module")
def opened(directory):
    return cotasp.open_run(directory)


def actions(policy) -> torch.Tensor:
    rows = torch.linspace(-1, 1, 40).reshape(10, 4)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        return policy(TensorDict({"observation": rows}, batch_size=[10]))["action"]


@pytest.mark.parametrize("goal", ["right", "left"])
def test_every_taught_phrasing_gets_the_tasks_policy_and_prompt(opened, goal):
    expected = actions(opened.policy(task=goal))
    for text in (GOALS[goal][2], *phrasings(goal)):
        facts = opened.prompt(text.upper())
        assert (facts.verdict, facts.task) == ("known", goal)
        assert facts.nearest[0].name == goal
        assert facts.nearest[0].overlap == 1.0  # by the lasso, which knows of no recall policy
        assert all(0 < layer.active == layer.owned < layer.width for layer in facts.layers)
        assert torch.equal(actions(opened.policy(text)), expected)
    other = {"right": "left", "left": "right"}[goal]
    assert not torch.equal(actions(opened.policy(task=other)), expected)


def test_an_unknown_sentence_gets_its_own_prompt(opened):
    facts = opened.prompt(GOALS["centre"][2])
    assert (facts.verdict, facts.task) == ("new", None)
    assert facts.nearest[0].overlap < 1.0
    assert actions(opened.policy(GOALS["centre"][2])).shape == (10, 2)


def test_the_recall_policy_is_chosen_by_name(directory):
    run_ = cotasp.open_run(directory, "nearest", threshold=1e-3)
    assert run_.prompt("Park the vehicle on the right.").verdict == "paraphrase"
    exact = cotasp.open_run(directory, "exact")
    assert exact.prompt("Park the vehicle on the right.").task is None


def test_bad_arguments_are_told(opened, directory):
    with pytest.raises(RecipeError, match=r"unknown task 'rigth'\. Did you mean 'right'"):
        opened.policy(task="rigth")
    with pytest.raises(RecipeError, match="a text or task=, one of the two"):
        opened.policy()
    with pytest.raises(RecipeError, match="expected a text that describes the task"):
        opened.prompt(" ?! ")
    with pytest.raises(RunError):
        cotasp.open_run(directory / "nowhere")


def test_lines_are_blanks_and_endless_sentences_are_refused(opened, directory, capsys):
    facts = opened.prompt("\n Park the car\n\ton the right!\r\n")
    assert (facts.verdict, facts.task) == ("known", "right")
    with pytest.raises(RecipeError, match="expected at most 1,000 characters, got 5,000"):
        opened.prompt("push " * 1000)
    for verb in ("prompt", "play"):
        assert main([verb, str(directory), "push " * 1000]) == 2
        assert "say in a sentence what the agent has to do" in capsys.readouterr().err


def test_a_run_without_finished_tasks_says_so(directory):
    first = cotasp.open_run(directory)
    first._saved.state["finished"] = 0
    with pytest.raises(RunError, match="no task is finished yet"):
        first.prompt("Park the car on the right.")


def test_the_command_prints_the_facts(directory, capsys):
    assert main(["prompt", str(directory), "Park the car on the right"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("task   score  similarity  overlap  text\nright")
    assert printed.endswith("known: it was taught, and gets the policy of right\n")
    assert main(["prompt", str(directory), "Park the car on the right", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["task"] == "right"
    assert (facts["nearest"][0]["score"], facts["nearest"][0]["overlap"]) == (1.0, 1.0)
    assert facts["nearest"][0]["similarity"] == pytest.approx(1.0)
    assert set(facts) == {"text", "verdict", "task", "nearest", "layers"}
    assert main(["prompt", str(directory), ""]) == 2
    assert "expected a text that describes the task" in capsys.readouterr().err


def test_curves_and_tables_are_those_of_the_summary(opened, directory, monkeypatch):
    summary = json.loads((directory / "summary.json").read_text())
    curve = opened.curve("episode_return")
    assert set(curve) == {"right", "left"}
    assert curve["left"][-1] == (200, pytest.approx(summary["episode_return"][1][-1], abs=1e-6))
    assert [steps for steps, _ in opened.curve()["left"]][-2:] == [150, 200]
    with pytest.raises(RecipeError, match=r"unknown metric 'sucess'\. Did you mean 'success'"):
        opened.curve("sucess")
    table = opened.table()
    assert list(table.index) == ["right", "left"]
    assert table["performance"].tolist() == summary["per_task"]["performance"]
    steps, reached = (summary["per_task"][name] for name in ("steps_to_threshold", "reached"))
    expected = [g if ever else "not reached" for g, ever in zip(steps, reached)]
    assert table["steps_to_threshold"].tolist() == expected
    assert "not reached" in expected
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert [row["task"] for row in opened.table()] == ["right", "left"]
    monkeypatch.setattr("cotasp.storage.rundir.read_json", lambda path: {})
    with pytest.raises(RunError, match=r"summary.json: damaged: the protocol stamp is missing"):
        opened.table()


def test_curves_of_what_training_logs_and_their_figure(opened, directory, monkeypatch, tmp_path):
    with open(directory / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "facts/active/layer1"]
    expected = {row["task"]: [(int(row["step"]), float(row["value"]))] for row in rows}
    assert opened.curve("facts/active/layer1") == expected
    assert list(expected) == ["right", "left"]
    figure = opened.plot()
    success, returns = figure.axes
    assert (success.get_ylabel(), returns.get_ylabel()) == ("success rate", "return")
    assert returns.get_xlim() == (0, 200)
    for task, line in zip(("right", "left"), returns.get_lines(), strict=True):
        assert line.get_label() == task
        assert list(zip(*line.get_data(), strict=True)) == opened.curve("episode_return")[task]
    figure.savefig(tmp_path / "curves.png")
    pyplot.close(figure)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RecipeError, match=r'matplotlib is not installed; pip install "cotasp\['):
        opened.plot()


def test_metrics_that_are_damaged_or_not_there_are_told(tmp_path):
    for content, message in (
        (None, "cannot be read"),
        ("step,task,name,value\n", "nothing has been logged yet"),
        ("step,task\n1,right\n", "damaged, expected step,task,name,value in each row"),
        ("step,task,name,value\n1,right,evaluation/success,much\n", "damaged"),
    ):
        if content is not None:
            (tmp_path / "metrics.csv").write_text(content)
        with pytest.raises(RunError, match=message):
            read_curves(tmp_path, "success")


def test_the_example_reads_a_run(directory, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = Path(__file__).parents[2] / "examples" / "read_a_run.py"
    runpy.run_path(str(example))["main"](str(directory), "Park the car on the right.")
    assert capsys.readouterr().out.splitlines()[-1] == "episode.gif"
    assert (tmp_path / "episode.gif").stat().st_size > 1000


def test_tasks_that_are_not_finished_are_called_so(tmp_path, capsys):
    out = stopped(tmp_path / "run", 115)  # within the second of two tasks
    assert main(["evaluate", str(out), "--episodes", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "not finished: left; as they are in training, or from their texts"
    assert lines[-1].startswith("done: mean success")
    assert main(["evaluate", str(out), "--episodes", "1", "--task", "right"]) == 0
    assert "not finished" not in capsys.readouterr().out
    for task, said in (("left", "policy of left, which is not finished;"), ("right", "right;")):
        target = str(tmp_path / f"{task}.pt2")
        assert main(["export", str(out), "--task", task, "--out", target]) == 0
        assert said in capsys.readouterr().out


def test_a_sentence_of_no_task_has_no_head_where_every_task_has_its_own(tmp_path):
    run(tiny("actor.heads=per_task"), tmp_path / "run", progress=False)
    opened = cotasp.open_run(tmp_path / "run")
    assert opened.prompt("Boil an egg.").verdict == "new"
    with pytest.raises(
        RunError, match=r"'Boil an egg\.' means no finished task .* none for another"
    ):
        opened.policy("Boil an egg.")
    rows = TensorDict({"observation": torch.zeros(3, 4)}, [3])
    assert opened.policy(task="left")(rows)["action"].shape == (3, 2)
