"""`cotasp export`: a task's policy leaves its run."""

from __future__ import annotations

import json

import pytest
import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.__main__ import main
from cotasp.continual.loop import run
from cotasp.continual.protocol import protocol_stamp
from cotasp.continual.saved import load_run
from tests.continual.runs import tiny


@pytest.mark.parametrize("task", ["right", "left"])
def test_what_is_written_acts_as_the_run_is_evaluated(undisturbed, tmp_path, task, capsys):
    out = tmp_path / "policy.pt2"
    assert main(["export", str(undisturbed), "--task", task, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"done: {out}, ")
    _, tasks, learner = load_run(undisturbed)
    policy = learner.policy([each.name for each in tasks].index(task))
    observation = torch.randn(3, learner.problem.observation_dim)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        expected = policy.module(observation)
    action = torch.export.load(out).module()(observation)
    torch.testing.assert_close(action, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("task", "out", "code", "message"),
    [
        ("right", "x.zip", 2, "x.zip: expected a file ending with .pt2 or .onnx"),
        ("right", "no/x.pt2", 1, "no: no such directory; make it first"),
        ("rihgt", "x.pt2", 2, "task: unknown task 'rihgt'. Did you mean 'right'?"),
    ],
)
def test_refusals_leave_nothing(
    undisturbed, tmp_path, monkeypatch, task, out, code, message, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(undisturbed), "--task", task, "--out", out]) == code
    assert capsys.readouterr().err == f"cotasp: error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_how_long_actions_are_held_leaves_with_the_policy(tmp_path, capsys):
    recipe = tiny("stream={name: point, goals: [right], horizon: 8, action_repeat: 2}")
    run(recipe, tmp_path / "run", progress=False)
    out = tmp_path / "policy.pt2"
    assert main(["export", str(tmp_path / "run"), "--task", "right", "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith("environment's own range, each held for 2 steps\n")
    facts = {"facts.json": ""}
    torch.export.load(out, extra_files=facts)
    text = recipe.stream.make_tasks()[0].text
    known = json.loads(facts["facts.json"])
    assert known.pop("protocol") == protocol_stamp(recipe)["hash"]
    assert known == {
        "environment": "right",
        "task": "right",
        "text": text,
        "normal_form": text.lower(),
        "normalisation": "Unicode NFKC, lower case, single blanks, one full stop at the end",
        "verdict": "known",
        "action_repeat": 2,
        "action_low": "[-1.0, -1.0]",
        "action_high": "[1.0, 1.0]",
    }


def test_a_sentence_is_exported_as_its_task_is(undisturbed, tmp_path, capsys):
    text = load_run(undisturbed)[1][1].text
    files = tmp_path / "task.pt2", tmp_path / "text.pt2", tmp_path / "new.pt2"
    for out, more in zip(files, (["--task", "left"], ["--text", text.upper()])):
        assert main(["export", str(undisturbed), *more, "--out", str(out)]) == 0
        assert "kB: policy of left; " in capsys.readouterr().out
    asked = ["--text", "Whistle a tune.", "--recall", "exact"]
    assert main(["export", str(undisturbed), *asked, "--out", str(files[2])]) == 0
    assert "kB: a policy that nobody has trained; " in capsys.readouterr().out
    observation, facts = torch.randn(3, 4), {"facts.json": ""}
    task, sentence, new = (
        torch.export.load(out, extra_files=facts).module()(observation) for out in files
    )
    assert torch.equal(task, sentence)
    assert not torch.equal(task, new)
    known = json.loads(facts["facts.json"])
    assert (known["task"], known["verdict"], known["text"]) == ("", "new", "Whistle a tune.")


def test_a_task_or_a_sentence_is_asked_for(undisturbed, tmp_path, capsys):
    for more in ([], ["--task", "left", "--text", "Go left."]):
        assert main(["export", str(undisturbed), *more, "--out", str(tmp_path / "x.pt2")]) == 2
    assert "not allowed with argument" in capsys.readouterr().err
