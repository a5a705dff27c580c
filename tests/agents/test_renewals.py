"""Renewals: the contract over every registered name, and each rule by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from cotasp.agents.sac import SAC
from cotasp.agents.td3 import TD3
from cotasp.errors import RecipeError
from cotasp.methods.continual_backprop import ContinualBackprop
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.hat import HAT
from cotasp.methods.pnn import PNN
from cotasp.methods.redo import ReDo
from cotasp.methods.renewal import Network, Renewal, free_units
from cotasp.methods.renewing import network_view
from cotasp.methods.shrink_perturb import ShrinkPerturb
from cotasp.methods.ssde import Sensitivity
from cotasp.modules.masks import Dense, RandomMask
from cotasp.modules.specs import ActorSpec
from cotasp.registry import KINDS
from tests.agents.problems import OBS, learner, train, transitions

STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(9))
EAGER = {
    "redo": ReDo(every=2, threshold=0.9),
    "continual_backprop": ContinualBackprop(every=2, rate=0.1, maturity=0),
    "shrink_perturb": ShrinkPerturb(every=2, shrink=0.5, perturb=0.5),
    "sensitivity": Sensitivity(every=2, until=1.0),
}


def test_every_renewal_is_covered():
    assert set(EAGER) == set(KINDS["renewal"].names())


@pytest.mark.parametrize("execution", ["compact", "dense"])
@pytest.mark.parametrize("name", EAGER)
def test_nothing_that_is_guarded_moves(name, execution):
    """Bit for bit; and without a guard it does."""
    policies = []
    for protection in (Freeze(), KINDS["protection"].get("none")()):
        made = learner(
            mask=RandomMask(0.6),
            protection=protection,
            execution=execution,
            renewals=(EAGER[name],),
            code_updates=0,
        )
        train(made, 0, steps=40)
        before = made.sub_network(0)(STATES)
        train(made, 1, steps=40)
        policies.append(all(map(torch.equal, before, made.sub_network(0)(STATES))))
    assert policies == [True, False]


def seen(renewal: Renewal, steps: int = 0) -> tuple[Network, dict]:
    made = learner(mask=Dense(), code_updates=0, renewals=(replace(renewal, every=10**6),))
    made.start_task(0)
    made.learn(transitions(20 + steps, seed=0))
    state: dict = {}
    generator = torch.Generator().manual_seed(0)
    return network_view(made.actor.sub, STATES, generator, state, progress=0.5), state


def renewed(new: dict, network: Network, layer: int) -> torch.Tensor:
    """Units of a layer that give nothing any more, bool [K]."""
    return torch.stack([(new[name] == 0).all(0) for name in network.units[layer][1]]).all(0)


def test_redo_renews_the_units_below_its_threshold_and_no_others():
    network, _ = seen(ReDo())
    size = network.activations(STATES)[-1].abs().mean(0)
    new = ReDo(threshold=0.6).renew(network)
    dormant = size <= 0.6 * size.mean()
    assert 0 < int(dormant.sum()) < len(dormant)
    assert torch.equal(renewed(new, network, 1), dormant)
    incoming = "body.layers.1.weight"
    assert (new[incoming] != network.weights[incoming]).any(1)[dormant].all()


def test_continual_backprop_renews_the_least_useful_at_its_rate():
    """In the last hidden layer, of 40 units, at a twentieth of them per update: two every time."""
    renewal = ContinualBackprop(every=1, rate=0.05, maturity=0, decay=0.0)
    network, state = seen(renewal)
    output = network.activations(STATES)[-1]
    given = network.weights["mean.weight"].abs().sum(0) + network.weights[
        "log_std.weight"
    ].abs().sum(0)
    useful = output.abs().mean(0) * given
    new = renewal.renew(network)
    changed = renewed(new, network, 1)
    assert torch.equal(changed.nonzero().flatten(), useful.argsort()[:2].sort().values)
    ages = state["layer2"]["age"]
    assert ages[changed].tolist() == [0.0, 0.0]
    assert set(ages[~changed].tolist()) == {1.0}


def test_young_units_are_left_alone_and_fractions_add_up():
    renewal = ContinualBackprop(every=1, rate=0.01, maturity=2, decay=0.9)
    network, _ = seen(renewal)
    counts = []
    for _ in range(8):  # 0.4 units are due at each look from the third on
        new = renewal.renew(network)
        counts.append(int(renewed(new, network, 1).sum()))
    assert counts == [0, 0, 0, 0, 1, 0, 0, 1]


def test_shrink_and_perturb_is_its_formula():
    network, _ = seen(ShrinkPerturb())
    new = ShrinkPerturb(shrink=0.7, perturb=0.3).renew(network)
    network.generator.manual_seed(0)
    for name, weight in network.weights.items():
        torch.testing.assert_close(new[name], 0.7 * weight + 0.3 * network.fresh(name))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("redo", {"every": 0}),
        ("continual_backprop", {"rate": 2.0}),
        ("continual_backprop", {"decay": 1.0}),
        ("shrink_perturb", {"shrink": -0.1}),
    ],
)
def test_values_out_of_range_are_refused(name, field):
    with pytest.raises(RecipeError, match="expected"):
        replace(EAGER[name], **field)


def test_renewals_follow_the_steps_of_the_actor_and_not_the_updates():
    """TD3 steps the actor with every second update only."""
    told: list[int] = []

    @dataclass(frozen=True)
    class Told:
        every: int = 5

        def renew(self, network):
            told.append(made.actor.sub.optimiser.steps)
            return {}

    for agent, updates in ((SAC, 20), (TD3, 40)):
        told.clear()
        made = learner(agent_class=agent, mask=Dense(), code_updates=0, renewals=(Told(),))
        made.start_task(0)
        made.learn(transitions(20, 0))
        made.update(updates)
        assert told == [5, 10, 15, 20], agent


@pytest.mark.parametrize("heads", ["shared", "per_task"])
@pytest.mark.parametrize("name", EAGER)
def test_renewals_do_the_same_in_compact_and_dense_execution(name, heads):
    renewal = EAGER[name]
    both = []
    for execution in ("compact", "dense"):
        made = learner(
            mask=RandomMask(0.5),
            heads=heads,
            protection=Freeze("tasks"),
            execution=execution,
            renewals=(replace(renewal, every=20),),
            code_updates=0,
            distillation_updates=0,
        )
        train(made, 0, steps=40)
        train(made, 1, steps=40)
        view = network_view(made.actor.sub, STATES, torch.Generator().manual_seed(0), {}, 0.5)
        both.append((view, made.sub_network(1)(STATES)))
    (compact, mine), (dense, theirs) = both
    for layer in range(2):
        assert torch.equal(free_units(compact, layer), free_units(dense, layer))
        assert torch.equal(compact.active[layer], dense.active[layer])
    assert free_units(compact, 1).any()
    for name_, weight in compact.weights.items():
        assert torch.equal(compact.fresh(name_), dense.fresh(name_))
        torch.testing.assert_close(weight, dense.weights[name_], atol=1e-4, rtol=1e-3)
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("mask", "more"),
    [
        (PNN(), {"actor": ActorSpec((48, 40), norm="none"), "protection": Freeze("tasks")}),
        (HAT(s_max=50.0), {"protection": Unprotected()}),
        (Dense(), {"heads": "per_task", "protection": Unprotected()}),
    ],
    ids=["pnn", "hat", "heads"],
)
def test_units_of_the_task_may_be_renewed_whatever_else_there_is(mask, more):
    """Other tasks' heads, weights that are not there and units that are off stand in no way."""
    made = learner(mask=mask, code_updates=0, distillation_updates=0, **more)
    train(made, 0, steps=40)
    made.start_task(1)
    made.learn(transitions(30, seed=2))
    factors = made.actor.beginnings.factors
    generator = torch.Generator().manual_seed(0)
    view = network_view(made.actor.sub, STATES, generator, {}, 0.5, factors)
    for layer in range(2):
        assert free_units(view, layer).any(), layer


def test_fresh_weights_of_a_column_are_as_its_first_ones():
    """A column's layer reads a part of the network, so its weights are drawn larger."""
    made = learner(
        mask=PNN(),
        actor=ActorSpec(hidden=(240, 240), norm="none", heads="per_task"),
        protection=Unprotected(),
        code_updates=0,
        distillation_updates=0,
    )
    made.start_task(0)
    actor, generator = made.actor, torch.Generator().manual_seed(0)
    view = network_view(actor.sub, STATES, generator, {}, 0.5, actor.beginnings.factors)
    name = "body.layers.1.weight"
    first, fresh = view.weights[name], view.fresh(name)
    assert first.std() > 1.5 * (2 / 240) ** 0.5
    torch.testing.assert_close(fresh.std(), first.std(), rtol=0.2, atol=0.0)
