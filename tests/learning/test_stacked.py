"""Several learners updated together learn what each learns alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from cotasp.continual.lockstep import in_lockstep
from cotasp.learning import sac_learner
from cotasp.learning.protections import EWC, Unprotected
from cotasp.learning.stacked import stack, update_together
from cotasp.modules.masks import Sigmoid, Step, TopK
from cotasp.modules.specs import CategoricalCritic, MLPCritic, ResidualCritic
from cotasp.modules.subnetwork import unpadded
from tests.learning.problems import learner, train, transitions

SEEDS = (0, 1, 2)


def work(changes, seed, meet=None):
    """Two tasks of a learner, begun in its own random state."""
    made = learner(seed, learning_rate=1e-3, updates_per_transition=1.25, **changes)
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
    made.sub.write_back()
    adams = {"critic": made.values.critic_optimiser, "code": made.code_optimiser}
    actor = made.sub.state_dict()["moments"]
    moments = {
        f"{n} {k} {i}": v
        for n, adam in adams.items()
        for k, tensors in adam.moments.items()
        for i, v in enumerate(tensors)
    }
    networks = {"policy": made.meta_policy, "critics": made.values.critics}
    networks["targets"] = made.values.targets
    return {
        **{f"{n} {k}": v for n, net in networks.items() for k, v in net.state_dict().items()},
        **{f"actor {k} {name}": v for k, of in actor.items() for name, v in of.items()},
        **moments,
        **{f"average {k}": v for k, v in made.sub.state_dict()["average"].items()},
        "code": made.code.detach(),
        "temperature": made.values.log_temperature,
        "mask": made.final_mask(),
        "steps": torch.tensor([a.steps for a in adams.values()]),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"execution": "dense"},
        {"mask": Step(gradient="identity")},
        {"mask": Sigmoid(), "protection": Unprotected()},
        {"mask": TopK(8), "protection": EWC(weight=10.0, samples=8)},
        {"critic": MLPCritic((16, 16), norm="first"), "ensemble": "mean"},
        {"actor_average": 0.9, "final_learning_rate": 0.1, "n_step": 1},
        {"critic": ResidualCritic(16)},
        {"critic": CategoricalCritic((16,), bins=11)},
        {"precision": "bfloat16"},  # whose widths are padded; products in float64 stay as they are
    ],
    ids=[
        "compact",
        "dense",
        "identity",
        "sigmoid",
        "ewc",
        "mean",
        "averaged",
        "residual",
        "categorical",
        "padded",
    ],
)
def test_together_is_as_alone(changes):
    """A hundred updates of both kinds, a second task's guard and padding included."""
    torch.set_default_dtype(torch.float64)
    try:
        alone = [work(changes, seed) for seed in SEEDS]
        stacked = in_lockstep([partial(work, changes, seed) for seed in SEEDS], update_together)
    finally:
        torch.set_default_dtype(torch.float32)
    if not changes:
        assert len({made.sub.network.hidden for made in alone}) > 1, "nothing to pad"
    for one, other in zip(alone, stacked):
        if isinstance(other, BaseException):
            raise other
        assert one.updates == other.updates == 100
        theirs = state(other)
        for name, mine in state(one).items():
            torch.testing.assert_close(
                mine, theirs[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_seeds_distil_together(monkeypatch):
    """In stretches of two, two and one, as alone."""
    monkeypatch.setattr(sac_learner, "DISTIL_TOGETHER", 2)
    met = []

    def watch(learners, draws):
        met.append([(learner.phase, len(mine)) for learner, mine in zip(learners, draws)])
        return update_together(learners, draws)

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
    together = in_lockstep([partial(ahead, seed) for seed in (0, 1)], update_together)
    for one, other in zip(alone, together):
        theirs = state(other)
        for name, mine in state(one).items():
            torch.testing.assert_close(mine, theirs[name], rtol=1e-3, atol=1e-6)


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

    fine, error, other = in_lockstep([partial(poisoned, s) for s in SEEDS], update_together)
    assert (fine, other) == (40, 40)
    assert "critic_loss is nan at update 1;" in str(error)


def test_stacking_pads_with_zeros():
    tensors = [torch.ones(2, 3), torch.full((3, 1), 2.0)]
    stacked = stack(tensors)
    assert stacked.shape == (2, 3, 3)
    assert float(stacked.sum()) == 6 + 6
    for mine, tensor in zip(stacked, tensors):
        assert torch.equal(unpadded(mine, tensor.shape), tensor)
