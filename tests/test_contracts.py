"""The contract of every kind over every registered name, and that each check can fail."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from cotasp import testing
from cotasp.agents.meta_settings import MetaLearning
from cotasp.agents.sac import SAC
from cotasp.agents.td3 import TD3
from cotasp.methods.memories.shelf import Shelf
from cotasp.methods.packnet import PackNet
from cotasp.modules.masks import Dense, Step
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.recall import Recall
from cotasp.registry import KINDS
from cotasp.tasks.point_streams import Point
from cotasp.testing._toy import AGENT, with_fields

pytestmark = pytest.mark.filterwarnings("ignore::cotasp.errors.ConvergenceWarning")

SMALL = {f.name: getattr(AGENT, f.name) for f in dataclasses.fields(AGENT)}
FIELDS: dict[tuple[str, str], dict[str, Any]] = {  # what has no default, and what fits small tasks
    ("mask", "topk"): {"k": 9},
    ("protection", "ewc"): {"weight": 10.0, "samples": 8},
    ("protection", "mas"): {"weight": 10.0, "samples": 8},
    ("protection", "agem"): {"rehearsal": 8},
    ("protection", "cloning"): {"rehearsal": 8},
    ("memory", "shelf"): {"size": 30},
    ("memory", "mixed"): {"size": 30},
    ("memory", "reservoir"): {"size": 30},
    ("renewal", "redo"): {"every": 3, "threshold": 0.9},
    ("renewal", "continual_backprop"): {"every": 2, "rate": 0.1, "maturity": 2},
    ("renewal", "shrink_perturb"): {"every": 5},
    ("renewal", "sensitivity"): {"every": 2, "until": 1.0},
    ("agent", "comps"): {"meta": MetaLearning(updates=5, batch_size=16)},
    ("stream", "metaworld"): {"tasks": ["reach-v3"]},
    ("stream", "gymnasium"): {"tasks": [{"env": "Pendulum-v1", "text": "Swing the pole up."}]},
}
CHECKS = {
    "encoder": testing.check_encoder,
    "recall": lambda policy: testing.check_recall(policy, RandomEncoder()),
    "solver": testing.check_solver,
    "update": testing.check_update_rule,
    "mask": testing.check_mask,
    "protection": testing.check_protection,
    "memory": testing.check_memory,
    "renewal": testing.check_renewal,
    "stream": lambda stream: testing.check_stream(stream, environments=1),  # a second costs 1 s
    "critic": testing.check_critic,
    "agent": testing.check_agent,
}


def component(kind: str, name: str) -> Any:
    """An instance that fits small tasks."""
    made = KINDS[kind].make(name, **FIELDS.get((kind, name), {}))
    return with_fields(made, **SMALL) if kind == "agent" else made


def test_every_kind_has_a_check_but_launchers():
    assert {*CHECKS, "launcher"} == set(KINDS)
    functions = {f"check_{'update_rule' if kind == 'update' else kind}" for kind in CHECKS}
    assert functions == set(testing.__all__)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in CHECKS for name in KINDS[kind].names()]
)
def test_contract(kind, name):
    if name == "celer":
        pytest.importorskip("celer")
    CHECKS[kind](component(kind, name))


# -- components that break one promise each ------------------------------------------------


@dataclass(frozen=True)
class Long:
    """Embeddings of twice the length."""

    dim: int = 8

    def prepare(self, texts):
        return self

    def __call__(self, texts):
        return 2 * RandomEncoder(dim=self.dim)(texts)


@dataclass(frozen=True)
class Drifting(Long):
    """Other embeddings each time."""

    def __call__(self, texts):
        return nn.functional.normalize(torch.randn(len(texts), self.dim), dim=1)


class Sure:
    """Knows every sentence."""

    def __call__(self, text, tasks, encoder):
        place = [t[0].lower().strip(" .") for t in tasks].index(text.lower().strip(" ."))
        return Recall("known", place, (0.0,) * len(tasks))


class Guessing(Sure):
    """Names a task for what it says is new."""

    def __call__(self, text, tasks, encoder):
        try:
            return super().__call__(text, tasks, encoder)
        except ValueError:
            return Recall("new", 0, (0.0,) * len(tasks))


@dataclass(frozen=True)
class Thresholded:
    """Says that one soft threshold is the lasso."""

    exact: ClassVar[bool] = True
    supports_positive: ClassVar[bool] = True

    def __call__(self, X, dictionary, *, lmbda, positive, init):
        code = nn.functional.softshrink(X @ dictionary.mT, lmbda) * 0.1
        return code.clamp(min=0) if positive else code, torch.ones(len(X), dtype=torch.int64)


class Replacing:
    """Puts new atoms in the old ones' place."""

    def __call__(self, dictionary, embedding, code, *, lmbda):
        dictionary.record(embedding, code)
        dictionary.atoms = dictionary.atoms.clone()


class Forgetful:
    """Records nothing."""

    def __call__(self, dictionary, embedding, code, *, lmbda):
        dictionary.check(embedding, code)


@dataclass(frozen=True)
class Soft(Dense):
    """Never binary."""

    def __call__(self, code, progress=1.0):
        return torch.full_like(code, 0.5)


@dataclass(frozen=True)
class Dice(Dense):
    """Another mask each time."""

    def __call__(self, code, progress=1.0):
        return (torch.rand_like(code) > 0.1).to(code.dtype)


@dataclass(frozen=True)
class Boastful(Step):
    """Says that its gradient is the identity's."""

    gradient: str = "identity"

    def __call__(self, code, progress=1.0):
        return Step("clipped")(code, progress)


@dataclass(frozen=True)
class Overwriting(PackNet):
    """Prunes what finished tasks use, too."""

    def keep(self, weights, used, tasks_left, updates):
        for weight in weights.values():
            weight.mul_(0.5)
        return super().keep(weights, used, tasks_left, updates)


@dataclass(frozen=True)
class Pull:
    """A pull to 0 from the second task on, rightly done: the base of what is not."""

    weight: float = 1.0

    def penalty(self, now):
        return self.of(now.weights) * self.weight if now.state else None

    def of(self, weights):
        return sum(w.square().sum() for w in weights.values())

    def remember(self, ending):
        return {"tasks": {"number": torch.tensor(float(ending.task))}}


@dataclass(frozen=True)
class Eager(Pull):
    """Pulls from the first task on."""

    def penalty(self, now):
        return self.weight * self.of(now.weights)


@dataclass(frozen=True)
class Restless(Pull):
    """Draws from torch's own random numbers."""

    def remember(self, ending):
        return {"noise": {"of": torch.randn(())}}


@dataclass(frozen=True)
class Persistent(Pull):
    """Pulls at weight 0, too."""

    def penalty(self, now):
        return (self.weight + 0.1) * self.of(now.weights) if now.state else None


@dataclass(frozen=True)
class Averaging(Pull):
    """Depends on how large the network in training is."""

    def of(self, weights):
        return sum(w.square().mean() for w in weights.values())


@dataclass(frozen=True)
class Aliasing(Pull):
    """Remembers the weights themselves."""

    def remember(self, ending):
        return {"anchor": {k: p.detach() for k, p in ending.policy.named_parameters()}}


@dataclass(frozen=True)
class Counting(Pull):
    """Keeps a count that no checkpoint holds."""

    calls: list = field(default_factory=list)

    def penalty(self, now):
        self.calls.append(None)
        return self.weight * len(self.calls) * self.of(now.weights) if now.state else None


@dataclass(frozen=True)
class Growing(Shelf):
    """Keeps more rows of each task as more end."""

    def rows_kept(self, finished):
        return self.size * finished


@dataclass(frozen=True)
class Noticed(Shelf):
    """Draws from torch's own random numbers."""

    def rows_kept(self, finished):
        torch.rand(())
        return self.size


@dataclass(frozen=True)
class Renewing:
    """Draws the heads anew, into the weights themselves."""

    every: int = 3

    def renew(self, network):
        network.weights["mean.weight"].normal_(generator=network.generator)
        return {}


@dataclass(frozen=True)
class Gambling(Renewing):
    """Draws from torch's own random numbers."""

    def renew(self, network):
        return {"mean.weight": torch.randn_like(network.weights["mean.weight"])}


UPDATES: list[None] = []


@dataclass(frozen=True)
class Hidden(SAC):
    """Does more the more updates this process has made."""

    def update(self, values, actor, batch, noise):
        UPDATES.append(None)
        return super().update(values, actor, batch, noise * (1 + 1e-3 * len(UPDATES)))


@dataclass(frozen=True)
class Sizing(SAC):
    """Takes the width of the network in training for a learning signal."""

    def update(self, values, actor, batch, noise):
        batch = batch._replace(reward=batch.reward * actor.sub.network.hidden[0])
        return super().update(values, actor, batch, noise)


@dataclass(frozen=True)
class Misnaming(TD3):
    """Names other rows than those of its loss."""

    def update(self, values, actor, batch, noise):
        step = actor.step

        def misnames(loss, objective, rows):
            step(loss, objective, rows._replace(loss=lambda some: rows.loss(some[1:])))

        actor.step = misnames
        try:
            return super().update(values, actor, batch, noise)
        finally:
            actor.step = step


class Repeating(Point):
    """Gives each task the same name."""

    def make_tasks(self):
        return tuple(replace(task, name="same") for task in super().make_tasks())


def unseeded(build, num_envs, seed):
    return build(num_envs, int(torch.randint(1000, ())))


class Unseeded(Point):
    """Environments that no seed decides."""

    def make_tasks(self):
        made = super().make_tasks()
        return tuple(replace(task, build=partial(unseeded, task.build)) for task in made)


class Local(Point):
    """Tasks that no other process can have."""

    def make_tasks(self):
        return tuple(replace(task, build=lambda *given: None) for task in super().make_tasks())


class Values(nn.Module):
    """Two linear members, whose second's weights are those of the first if they are twins."""

    def __init__(self, sizes, twins):
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(sizes, 1) for _ in range(2))
        if twins:
            self.members[1] = self.members[0]

    def forward(self, observation, action):
        x = torch.cat([observation, action], -1)
        return torch.stack([member(x).squeeze(-1) for member in self.members])


@dataclass(frozen=True)
class Twins:
    """Members that are one."""

    twins: bool = True

    def build(self, in_features, action_dim):
        return Values(in_features + action_dim, self.twins)


class Random(Values):
    def forward(self, observation, action):
        return super().forward(observation, action) + torch.randn(2, len(action)).to(action)


@dataclass(frozen=True)
class Noisy:
    """Other values each time."""

    def build(self, in_features, action_dim):
        return Random(in_features + action_dim, False)


BROKEN = [
    ("encoder", Long(), "unit norm"),
    ("encoder", Drifting(), "equal texts have equal embeddings"),
    ("recall", Guessing(), "a task is named for paraphrases only"),
    ("solver", Thresholded(), "largest KKT residual is at most its tol, 1e-06 lmbda, got"),
    ("update", Replacing(), "atoms are changed in place"),
    ("update", Forgetful(), "every pair is recorded"),
    ("mask", Soft(), "a finished task's mask is binary"),
    ("mask", Dice(), "equal codes have equal masks"),
    ("mask", Boastful(), "the gradient is the identity one"),
    ("mask", Overwriting(), "finished policies keep their bits with this mask"),
    ("protection", Eager(), "the first task is fine-tuning's bit for bit"),
    ("protection", Restless(), "random numbers are drawn by the protection's own"),
    ("protection", Persistent(), "at weight 0 all runs as without"),
    ("protection", Averaging(), "compact and dense execution with this protection differ"),
    ("protection", Aliasing(), "state is copied"),
    ("protection", Counting(weight=1e-3), "bit for bit"),
    ("memory", Growing(20), "rows that are gone do not come back"),
    ("memory", Noticed(20), "is that of a learner that keeps nothing"),
    ("renewal", Renewing(), "weights mean.weight is not written to"),
    ("renewal", Gambling(), "random numbers are drawn by the network's generator"),
    ("agent", replace(Hidden(), **SMALL), "equal seeds make equal learners"),
    ("agent", replace(Sizing(), **SMALL), "compact and dense execution with this agent"),
    ("agent", with_fields(Misnaming(), **SMALL), "the loss of all rows that a step names"),
    ("stream", Repeating(), "each task has a name of its own"),
    ("stream", Local(), "tasks go to other processes"),
    ("stream", Unseeded(), "equal seeds make equal environments"),
    ("critic", Twins(), "members begin unlike"),
    ("critic", Noisy(), "values are forward's"),
]


@pytest.mark.parametrize(
    ("kind", "broken", "promise"), BROKEN, ids=[type(b).__name__ for _, b, _ in BROKEN]
)
def test_a_broken_component_fails_its_check(kind, broken, promise):
    with pytest.raises(AssertionError, match=promise):
        CHECKS[kind](broken)


def test_every_check_can_fail():
    assert {kind for kind, _, _ in BROKEN} == set(CHECKS)


def test_what_the_broken_protections_spoil_is_sound():
    testing.check_protection(Pull())
