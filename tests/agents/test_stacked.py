"""Several learners updated together learn what each learns alone."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from cotasp.agents import off_policy, stacked
from cotasp.agents.stacked import StackedUpdates, stack
from cotasp.continual.lockstep import in_lockstep
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Unprotected
from cotasp.modules.masks import Dense, Sigmoid, Step, TopK
from cotasp.modules.specs import CategoricalCritic, MLPCritic, PopArtCritic, ResidualCritic
from cotasp.modules.subnetwork import unpadded
from tests.agents.problems import OBS, learner, train, transitions

SEEDS = (0, 1)
UPDATES = 40  # of each task: four times those of weights, then those of the code


def work(changes, seed, meet=None, updates=UPDATES):
    """Two tasks of a learner, begun in its own random state."""
    per_transition = updates / 80  # those of the warm-up train nothing
    made = learner(seed, learning_rate=1e-3, updates_per_transition=per_transition, **changes)
    if meet is not None:
        made.updater = meet
    torch.manual_seed(100 + seed)
    for task in range(2):
        made.start_task(task)
        for chunk in range(0, 100, 20):
            made.learn(transitions(20, seed=1000 * seed + 100 * task + chunk))
        if task == 0:
            made.end_task()
    return made


def state(made) -> dict[str, torch.Tensor]:
    """Everything that learning changes."""
    made.actor.sub.write_back()
    adams = {"critic": made.values.critic_optimiser, "code": made.actor.task_code.optimiser}
    actor = made.actor.sub.state_dict()["moments"]
    moments = {
        f"{n} {k} {i}": v
        for n, adam in adams.items()
        for k, tensors in adam.moments.items()
        for i, v in enumerate(tensors)
    }
    networks = {"policy": made.actor.meta_policy, "critics": made.values.network}
    networks["targets"] = made.values.target_network
    return {
        **{f"{n} {k}": v for n, net in networks.items() for k, v in net.state_dict().items()},
        **{f"actor {k} {name}": v for k, of in actor.items() for name, v in of.items()},
        **moments,
        **{f"average {k}": v for k, v in made.actor.sub.state_dict()["average"].items()},
        "code": made.actor.code.detach(),
        "temperature": made.values.number("log_temperature"),
        "mask": made.actor.final_mask(),
        "steps": torch.tensor([a.steps for a in adams.values()]),
    }


def assert_as_alone(alone, others):
    """The same updates and states, up to the rounding of sums in float64."""
    for one, other in zip(alone, others, strict=True):
        if isinstance(other, BaseException):
            raise other
        assert one.updates == other.updates == UPDATES
        theirs = state(other)
        for name, own in state(one).items():
            torch.testing.assert_close(
                own, theirs[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"heads": "per_task"},
        {"heads": "per_task", "mask": Dense(), "execution": "dense"},
        {"execution": "dense"},
        {"mask": Step(gradient="identity")},
        {"mask": Sigmoid(), "protection": Unprotected()},
        {"mask": TopK(8), "protection": EWC(weight=10.0, samples=8)},
        {"critic": MLPCritic((16, 16), norm="first"), "ensemble": "mean"},
        {"actor_average": 0.9, "final_learning_rate": 0.1, "n_step": 1, "clip": 0.1},
        {"critic": ResidualCritic(16)},
        {"critic": CategoricalCritic((16,), bins=11)},
        {"critic": PopArtCritic((16, 16), rate=0.1)},
        {"precision": "bfloat16"},  # whose widths are padded; products in float64 stay as they are
    ],
    ids=[
        "compact",
        "heads",
        "heads-dense",
        "dense",
        "identity",
        "sigmoid",
        "ewc",
        "mean",
        "averaged",
        "residual",
        "categorical",
        "popart",
        "padded",
    ],
)
def test_together_is_as_alone(changes):
    """Updates of both kinds, a second task's guard and padding included."""
    torch.set_default_dtype(torch.float64)
    try:
        alone = [work(changes, seed) for seed in SEEDS]
        together = in_lockstep([partial(work, changes, seed) for seed in SEEDS], StackedUpdates())
    finally:
        torch.set_default_dtype(torch.float32)
    if not changes:
        assert len({made.actor.sub.network.hidden for made in alone}) > 1, "nothing to pad"
    assert_as_alone(alone, together)


def test_seeds_distil_together(monkeypatch):
    """In stretches of two, two and one, as alone."""
    monkeypatch.setattr(off_policy, "DISTIL_TOGETHER", 2)
    met = []

    def watch(learners, draws):
        met.append([(learner.phase, len(own.noise)) for learner, own in zip(learners, draws)])
        return StackedUpdates()(learners, draws)

    def distilled(seed, meet=None):
        made = learner(seed)
        made.updater = meet or made.updater
        torch.manual_seed(seed)
        train(made, 0)
        met.clear()
        made.start_task(1)
        return made

    alone = [distilled(seed) for seed in SEEDS]
    together = in_lockstep([partial(distilled, seed) for seed in SEEDS], watch)
    assert met == [[("distillation", n)] * len(SEEDS) for n in (2, 2, 1)]
    for one, other in zip(alone, together):
        theirs = state(other)
        for name, mine in state(one).items():
            torch.testing.assert_close(mine, theirs[name], rtol=1e-3, atol=1e-6)


def test_learners_at_different_places_are_updated_apart():
    def ahead(seed, meet=None):
        made = learner(seed)
        made.updater = meet or made.updater
        torch.manual_seed(seed)
        made.start_task(0)
        for chunk in range(1 + seed):  # the second seed is in another place when the first ends
            made.learn(transitions(20 + 5 * seed, seed=chunk))
        return made

    alone = [ahead(seed) for seed in (0, 1)]
    together = in_lockstep([partial(ahead, seed) for seed in (0, 1)], StackedUpdates())
    for one, other in zip(alone, together):
        theirs = state(other)
        for name, mine in state(one).items():
            torch.testing.assert_close(mine, theirs[name], rtol=1e-3, atol=1e-6)


def test_learners_whose_tasks_have_other_heads_are_updated_apart():
    def begun(seed, done):
        made = learner(
            seed=seed,
            mask=Dense(),
            heads="per_task",
            execution="dense",
            protection=Unprotected(),
            code_updates=0,
            distillation_updates=0,
        )
        for task in range(done):
            train(made, task)
        made.start_task(done)
        made.learn(transitions(20, 3))
        made.replay.extend(transitions(10, 4))
        made._begin_stretch()
        return made

    found = []
    for together in (False, True):
        both = begun(0, 0), begun(1, 1)
        torch.manual_seed(7)
        draws = [made._draws(5) for made in both]
        if together:
            StackedUpdates()(both, draws)
        else:
            for made, drawn in zip(both, draws):
                made.updater(made, drawn)
        for made in both:
            made.actor.sub.write_back()
        states = torch.randn(5, OBS, generator=torch.Generator().manual_seed(1))
        found.append([made.sub_network(task)(states) for task, made in enumerate(both)])
    for alone, other in zip(*found):
        for mine, theirs in zip(alone, other):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_a_loss_that_is_not_finite_ends_one_learner_only():
    def poisoned(seed, meet):
        made = learner(seed, warmup_steps=0, n_step=1)
        made.updater = meet
        made.start_task(0)
        data = transitions(20, seed=seed)
        if seed == 1:
            data["next", "reward"][:] = float("nan")
        made.learn(data)
        made.learn(transitions(20, seed=7))
        return made.updates

    fine, error, other = in_lockstep([partial(poisoned, s) for s in (0, 1, 2)], StackedUpdates())
    assert (fine, other) == (40, 40)
    assert "critic_loss is nan at update 1;" in str(error)


def test_stacking_pads_with_zeros():
    tensors = [torch.ones(2, 3), torch.full((3, 1), 2.0)]
    stacked = stack(tensors)
    assert stacked.shape == (2, 3, 3)
    assert float(stacked.sum()) == 6 + 6
    for mine, tensor in zip(stacked, tensors):
        assert torch.equal(unpadded(mine, tensor.shape), tensor)


class Recorded:
    """In place of a CUDA graph where there is no GPU: what moves is written into the same tensors,
    and Python's own effects do not happen again.
    """

    made = 0

    def __init__(self, function, arguments):
        type(self).made += 1
        self.function, self.arguments = function, [argument.clone() for argument in arguments]
        for _ in range(4):  # warm-up and capture
            self.results = function(*self.arguments)
        self.adams = [x.adam for x in vars(function.__self__).values() if hasattr(x, "adam")]

    def __call__(self, *arguments):
        torch._foreach_copy_(self.arguments, arguments)
        before = [(adam, adam.steps) for adam in self.adams]
        for name, values in self.function(*self.arguments).items():
            self.results[name].copy_(values)
        for adam, steps in before:
            adam.steps = steps
        return self.results


class Captured(stacked.Stack):
    """Captures as it would on a GPU."""

    def __init__(self, *args):
        super().__init__(*args)
        self.captures = self.phase != "code"


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ({}, False),
        ({"actor_average": 0.9, "final_learning_rate": 0.1, "warmup_steps": 20}, True),
        ({"mask": Sigmoid(), "protection": Unprotected()}, False),
        ({"mask": TopK(8), "protection": EWC(weight=10.0, samples=8)}, True),
    ],
    ids=["compact together", "averaged alone", "sigmoid together", "ewc alone"],
)
def test_what_is_captured_moves_only_what_stays_in_place(changes, alone, monkeypatch):
    """With updates that are recorded once and played again, learners end as without."""
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(Recorded, "made", 0)
    try:
        plain = [work(changes, seed) for seed in SEEDS]
        monkeypatch.setattr(stacked, "Stack", Captured)
        monkeypatch.setattr(stacked, "CapturedGraph", Recorded)
        if alone:
            played = [work(changes, seed, StackedUpdates().alone) for seed in SEEDS]
        else:
            works = [partial(work, changes, seed) for seed in SEEDS]
            played = in_lockstep(works, StackedUpdates())
    finally:
        torch.set_default_dtype(torch.float32)
    assert Recorded.made > 0
    assert_as_alone(plain, played)


def test_sizes_that_come_back_are_captured_once(monkeypatch):
    monkeypatch.setattr(Recorded, "made", 0)
    monkeypatch.setattr(stacked, "Stack", Captured)
    monkeypatch.setattr(stacked, "CapturedGraph", Recorded)
    updates = StackedUpdates()
    made = learner(0, theta_updates=10, code_updates=1, code_learning_rate=1e-12)
    made.updater = updates.alone
    made.start_task(0)
    for chunk in range(5):
        made.learn(transitions(20, seed=chunk))
    assert made.updates == 80
    assert Recorded.made == 1
    assert [stack_.phase for stack_ in updates.stacks.values()] == ["code", "theta"]


def test_an_update_that_cannot_be_captured_goes_on_without(monkeypatch):
    def refuse(function, arguments):
        function(*arguments)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    def work(warned):
        made = learner(0)
        made.updater = StackedUpdates().alone
        torch.manual_seed(5)
        made.start_task(0)
        made.learn(transitions(20, seed=0))
        with warned:
            made.learn(transitions(6, seed=1))
        return state(made)

    plain = work(nullcontext())
    monkeypatch.setattr(stacked, "Stack", Captured)
    monkeypatch.setattr(stacked, "CapturedGraph", refuse)
    match = "agent.cuda_graphs: .* goes on without.*not permitted when stream is"
    refused = work(pytest.warns(UserWarning, match=match))
    for name, own in plain.items():
        assert torch.equal(own, refused[name]), name
