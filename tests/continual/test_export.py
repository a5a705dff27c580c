"""`cotasp export`: a task's policy leaves its run."""

from __future__ import annotations

import json

import pytest
import torch
from tensordict.nn import TensorDictModule
from torchrl.envs.utils import ExplorationType, set_exploration_type

import cotasp
from cotasp.__main__ import main
from cotasp.continual.loop import run
from cotasp.continual.opened import OpenedRun
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
        "observation_size": 4,
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


TOGETHER = "stream={name: point, goals: [right, left], horizon: 7, together: 2}"


@pytest.fixture(scope="module", params=["number", "text", "together"])
def marked_run(request, tmp_path_factory):
    """A run whose policy is told its task at the end of observations."""
    how = TOGETHER if request.param == "together" else f"task_input={request.param}"
    out = tmp_path_factory.mktemp("marked") / "run"
    run(tiny(how), out, progress=False)
    return cotasp.open_run(out)


def exported(path):
    facts = {"facts.json": ""}
    module = torch.export.load(path, extra_files=facts).module()
    return module, json.loads(facts["facts.json"])


@pytest.mark.parametrize("task", ["right", "left"])
@pytest.mark.parametrize("by", ["task", "text"])
def test_a_policy_that_is_told_its_task_takes_the_environments_own_observation(
    marked_run, tmp_path, task, by, capsys
):
    (chosen,) = (each for each in marked_run.tasks if each.name == task)
    out = tmp_path / "policy.pt2"
    asked = [f"--{by}", getattr(chosen, "name" if by == "task" else by)]
    assert main(["export", str(marked_run.path), *asked, "--out", str(out)]) == 0
    assert "observation [n, 4] to action [n, 2]" in capsys.readouterr().out
    module, facts = exported(out)
    assert facts["observation_size"] == 4
    observation = chosen.make_part(3, 0).reset()["observation"]
    marked = torch.cat([observation, torch.tensor(chosen.mark).expand(3, -1)], -1)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        expected = marked_run.policy(task=task).module(marked)
    torch.testing.assert_close(module(observation), expected, atol=1e-6, rtol=0)
    assert module(observation[:1]).shape == (1, 2)


def test_a_sentence_that_means_no_task_has_an_embedding_and_no_number(marked_run, tmp_path, capsys):
    new, out = "Whistle a tune.", tmp_path / "policy.pt2"
    marked_run = cotasp.open_run(marked_run.path, "exact")
    asked = [str(marked_run.path), "--text", new, "--recall", "exact"]
    code = main(["export", *asked, "--out", str(out)])
    if marked_run.recipe.task_input != "text":
        assert code == 1
        assert "'Whistle a tune.' means no finished task for sure, and" in capsys.readouterr().err
        assert not out.exists()
        return
    module, facts = exported(out)
    assert (facts["task"], facts["observation_size"]) == ("", 4)
    observation = torch.randn(3, 4)
    marked = torch.cat([observation, marked_run.encoder([new]).expand(3, -1)], -1)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        expected = marked_run.policy(new).module(marked)
    torch.testing.assert_close(module(observation), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("verb", ["evaluate", "play"])
def test_a_sentence_sent_to_another_tasks_environment_tells_its_own_task(
    marked_run, monkeypatch, verb
):
    """Told the other task, the policy of a run that learned to heed it would do the other."""
    right, left = marked_run.tasks
    seen = []

    def act(observation):
        seen.append(observation.reshape(-1, observation.shape[-1])[:, 4:])
        return torch.zeros(*observation.shape[:-1], 2)

    policy = TensorDictModule(act, ["observation"], ["action"])
    monkeypatch.setattr(OpenedRun, "policy", lambda *args, **kwargs: policy)
    getattr(marked_run, verb)(right.text, task=left.name)
    assert torch.equal(torch.cat(seen), torch.tensor(right.mark).expand(len(torch.cat(seen)), -1))
    if marked_run.recipe.task_input == "text":
        new = cotasp.open_run(marked_run.path, "exact")
        seen.clear()
        getattr(new, verb)("Whistle a tune.", task=left.name)
        assert torch.equal(seen[0][0], marked_run.encoder(["Whistle a tune."])[0])
