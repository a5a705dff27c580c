"""Whatever raises is named in the message: a component of any kind, a metric, an environment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from cotasp.agents.sac import SAC
from cotasp.continual import metrics
from cotasp.continual.collection import Collection
from cotasp.continual.loop import run
from cotasp.continual.opened import OpenedRun
from cotasp.dictionaries import Frozen, Lars
from cotasp.errors import CotaspError, PluginError, RunError
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.memories.shelf import Shelf
from cotasp.methods.packnet import PackNet
from cotasp.methods.redo import ReDo
from cotasp.modules.masks import Step
from cotasp.modules.specs import MLPCritic
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.recall import Exact
from cotasp.registry import KINDS
from cotasp.sweep.launchers import Local
from cotasp.sweep.plan import Plan
from cotasp.sweep.running import run_sweep
from cotasp.tasks.point import PointEnv
from cotasp.tasks.point_streams import Point
from tests.continual.runs import tiny

BASE = tiny("agent.theta_updates=3", "agent.warmup_steps=90", "evaluation.every=100")
SMALL = {f.name: getattr(BASE.agent, f.name) for f in dataclasses.fields(BASE.agent)}


def raising(base: type, method: str, after: int = 0, **fields: Any) -> Any:
    """An instance whose method works so many times, and then no more."""
    usual, calls = getattr(base, method, None), [0]

    def fails(self, *given, **named):
        calls[0] += 1
        if calls[0] > after:
            raise KeyError("boom")
        return usual(self, *given, **named)

    made = type("Faulty", (base,), {method: fails, "__doc__": "Fails."})
    return dataclass(frozen=True)(made)(**fields)


class Network(nn.Module):
    """Works until it is fitted."""

    def __init__(self, sizes):
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(sizes, 1) for _ in range(2))

    def forward(self, observation, action):
        if len(observation) == BASE.agent.batch_size:
            raise KeyError("boom")
        x = torch.cat([observation, action], -1)
        return torch.stack([member(x).squeeze(-1) for member in self.members])


@dataclass(frozen=True)
class Faulty:
    """Critics that cannot be fitted."""

    def build(self, in_features, action_dim):
        return Network(in_features + action_dim)


POINT = {"goals": ("right", "left"), "horizon": 7}
CASES = [
    ("encoder", raising(RandomEncoder, "prepare", dim=16), "encoder Faulty"),
    ("encoder", raising(RandomEncoder, "__call__", dim=16), "encoder Faulty"),
    ("solver", raising(Lars, "__call__"), "solver Faulty"),
    ("update", raising(Frozen, "__call__"), "update rule Faulty"),
    ("mask", raising(Step, "__call__"), "mask Faulty"),
    ("mask", raising(Step, "__call__", 6), "mask Faulty"),  # in training
    ("mask", raising(PackNet, "keep"), "mask Faulty"),
    ("protection", raising(Freeze, "guard"), "protection Faulty"),
    ("protection", raising(EWC, "penalty", samples=8), "protection Faulty"),
    ("protection", raising(Unprotected, "transform"), "protection Faulty"),
    ("protection", raising(EWC, "remember", samples=8), "protection Faulty"),
    ("protection", raising(Unprotected, "begin"), "protection Faulty"),
    ("memory", raising(Shelf, "rows_kept", size=20), "memory Faulty"),
    ("memory", raising(Shelf, "rows_kept", 3, size=20), "memory Faulty"),  # at a task's end
    ("memory", raising(Shelf, "old_rows", size=20), "memory Faulty"),
    ("renewal", raising(ReDo, "renew", every=3), "renewal Faulty"),
    ("critic", raising(MLPCritic, "build"), "critic Faulty"),
    ("critic", Faulty(), "critic Network"),  # what the user wrote that fails
    ("agent", raising(SAC, "learner", **SMALL), "agent Faulty"),
    ("agent", raising(SAC, "numbers", **SMALL), "agent Faulty"),
    ("agent", raising(SAC, "update", **SMALL), "agent Faulty"),
    ("agent", raising(SAC, "explores", **SMALL), "agent Faulty"),
    ("stream", raising(Point, "make_tasks", **POINT), "stream Faulty"),
    ("stream", raising(Point, "protocol", **POINT), "stream Faulty"),
]
PLACES = {
    "mask": lambda c: {"mask": c, "protection": Freeze(by="tasks")},
    "solver": lambda c: {"dictionary": replace(BASE.dictionary, solver=c)},
    "update": lambda c: {"dictionary": replace(BASE.dictionary, update=c)},
    "renewal": lambda c: {"renewals": (c,)},
    "critic": lambda c: {"agent": replace(BASE.agent, critic=c)},
}


@pytest.fixture
def batches(monkeypatch) -> list:
    """Grows by one with each batch that a run collects."""
    collected: list = []
    collect = Collection.collect

    def counted(self, frames):
        data = collect(self, frames)
        collected.append(frames)
        return data

    monkeypatch.setattr(Collection, "collect", counted)
    return collected


@pytest.mark.filterwarnings("ignore::cotasp.errors.ConvergenceWarning")
@pytest.mark.parametrize(("kind", "component", "name"), CASES, ids=str)
def test_a_component_that_raises_is_named(kind, component, name, tmp_path, monkeypatch, batches):
    targets = {**KINDS[kind]._targets, "faulty": type(component)}
    monkeypatch.setattr(KINDS[kind], "_targets", targets)
    fields = PLACES.get(kind, lambda c: {kind: c})(component)
    with pytest.raises(CotaspError) as caught:
        _ = run(replace(BASE, **fields), tmp_path / "run", progress=False)
    told = f"{name} (of {__name__}) raised KeyError: 'boom'; --debug shows where"
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert (tmp_path / "run").exists() == bool(batches)  # before the first step nothing is left


def returning(base: type, method: str, value: Any, **fields: Any) -> Any:
    """An instance whose method returns a value."""
    made = type("Wrong", (base,), {method: lambda self, *_, **__: value, "__doc__": "Wrong."})
    return dataclass(frozen=True)(made)(**fields)


def masking(function: Any) -> Any:
    """A mask policy whose masks are a function of codes."""
    call = {"__call__": lambda self, code, progress=1.0: function(code), "__doc__": "Wrong."}
    return dataclass(frozen=True)(type("Wrong", (Step,), call))()


def with_one_more(code):
    mask = (code > 0).float()
    return torch.cat([mask, mask[:1]]) if code.ndim == 1 else mask


ONES = torch.ones(2)
RETURNED = [
    ("update", returning(Frozen, "__call__", None), "__call__: expected a dictionary that has rec"),
    (
        "mask",
        returning(Step, "__call__", ONES),
        r"__call__: .* of the code's shape \[2, 24\]",
    ),
    ("mask", returning(Step, "__call__", None), "__call__: expected a float32 tensor .*, got None"),
    (
        "mask",
        masking(lambda code: code * float("nan")),
        r".* in \[0, 1\], got nan in 88 of 88",
    ),
    ("mask", masking(lambda code: 2.0 * (code > 0)), r"__call__: .* in \[0, 1\], got 2 in"),
    ("mask", masking(with_one_more), r"__call__: .* shape \[24\], got float32 of shape \[25\]"),
    ("protection", returning(Freeze, "guard", 3), "guard: expected bool tensors .*, got 3"),
    ("protection", returning(Freeze, "guard", {}), "guard: .*, got none for body.layers.0.weight"),
    ("protection", returning(EWC, "penalty", ONES, samples=8), "penalty: .* float32 of shape .2."),
    ("protection", returning(EWC, "penalty", 0.5, samples=8), "penalty: expected a scalar.*0.5"),
    ("protection", returning(Unprotected, "transform", {"w": ONES}), "transform: .*, got 'w', wh"),
    ("protection", returning(EWC, "remember", None, samples=8), "remember: expected .*, got None"),
    ("protection", returning(Unprotected, "begin", {"x": ONES}), "begin: .*, got x: Tensor"),
    ("memory", returning(Shelf, "rows_kept", "many", size=20), "rows_kept: expected .*'many'"),
    ("memory", returning(Shelf, "old_rows", 200, size=20), "old_rows: expected 0 to 100 rows"),
    ("renewal", returning(ReDo, "renew", {"w": ONES}, every=3), "renew: expected .*, got 'w'"),
    ("agent", returning(SAC, "learner", None, **SMALL), "learner: expected a Learner, got None"),
    ("agent", returning(SAC, "update", {}, **SMALL), "update: expected tensors critic_loss"),
    ("agent", returning(SAC, "explores", 1, **SMALL), "explores: expected a function"),
    ("stream", returning(Point, "protocol", 1, **POINT), "protocol: expected facts by name"),
]


@pytest.mark.parametrize(("kind", "component", "told"), RETURNED, ids=str)
def test_a_component_that_returns_something_else_is_named(
    kind, component, told, tmp_path, monkeypatch, batches
):
    targets = {**KINDS[kind]._targets, "wrong": type(component)}
    monkeypatch.setattr(KINDS[kind], "_targets", targets)
    fields = PLACES.get(kind, lambda c: {kind: c})(component)
    with pytest.raises(PluginError, match=rf"Wrong \(of {__name__}\): {told}"):
        _ = run(replace(BASE, **fields), tmp_path / "run", progress=False)
    assert (tmp_path / "run").exists() == bool(batches)


def test_a_directory_that_was_there_stays_and_can_be_used_again(tmp_path, monkeypatch):
    mask = masking(with_one_more)
    monkeypatch.setattr(KINDS["mask"], "_targets", {**KINDS["mask"]._targets, "wrong": type(mask)})
    (tmp_path / "run").mkdir()
    for _ in range(2):  # the second is not told that there is a run already
        with pytest.raises(PluginError, match="got float32 of shape"):
            _ = run(replace(BASE, mask=mask), tmp_path / "run", progress=False)
        assert list((tmp_path / "run").iterdir()) == []


def test_the_kinds_are_all_here_but_two_with_a_test_of_their_own():
    assert {kind for kind, _, _ in CASES} | {"recall", "launcher"} == set(KINDS)


def test_a_renewal_that_cannot_say_when_is_named():
    @dataclass(frozen=True)
    class Timeless:
        def renew(self, network):
            return {}

        @property
        def every(self):
            raise KeyError("boom")

    with pytest.raises(PluginError, match=r"renewal Timeless \(of .*\) raised KeyError: 'boom'"):
        replace(BASE, renewals=(Timeless(),))


def failing(build, num_envs, seed):
    raise KeyError("boom")


def test_an_environment_that_cannot_be_built_is_named():
    task = replace(Point(**POINT).make_tasks()[0], build=partial(failing, None))
    with pytest.raises(PluginError, match=r"task 'right': its environment right cannot be built: "):
        task.make_env()


def test_an_environment_that_fails_in_evaluation_is_named(tmp_path, monkeypatch):
    step = PointEnv._step

    def fails(self, data):
        if self.batch_size:
            raise KeyError("boom")
        return step(self, data)

    monkeypatch.setattr(PointEnv, "_step", fails)
    with pytest.raises(RunError, match=r"evaluation of task 'right': .* failed: KeyError"):
        run(BASE, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_metric_that_fails_is_named(monkeypatch, tmp_path):
    def fails(kept):
        raise KeyError("boom")

    broken = replace(metrics.METRICS["forgetting"], function=fails)
    monkeypatch.setitem(metrics.METRICS, "forgetting", broken)
    with pytest.raises(RunError, match=r"^metric forgetting: KeyError: 'boom'; --debug shows"):
        run(BASE, tmp_path / "run", progress=False)


def test_a_recall_policy_that_fails_is_named(tmp_path):
    run(BASE, tmp_path / "run", progress=False)
    opened = OpenedRun(tmp_path / "run", raising(Exact, "__call__"))
    with pytest.raises(PluginError, match=r"recall Faulty \(of .*\) raised KeyError: 'boom'"):
        opened.prompt("swim")


def test_a_launcher_that_fails_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_text("encoder: random")
    plan = Plan(recipe=tmp_path / "recipe.yaml", axes={}, seeds=(0,))
    with pytest.raises(PluginError, match=r"launcher Faulty \(of .*\) raised KeyError: 'boom'"):
        run_sweep(plan, tmp_path / "out", raising(Local, "open"), progress=False)
