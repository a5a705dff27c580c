"""SSDE: its units, damped weights and resets, each computed here by other means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.decomposition import sparse_encode
from torch.nn import functional as F

from cotasp.dictionaries import Dictionary
from cotasp.errors import RecipeError
from cotasp.methods.freeze import Freeze
from cotasp.methods.renewing import network_view
from cotasp.methods.ssde import SSDE, Sensitivity
from cotasp.modules.mask_capabilities import Beginning
from cotasp.modules.masks import Step
from cotasp.modules.subnetwork import membership
from tests.agents.problems import OBS, learner, train, transitions

STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))
MASK = SSDE(first_lmbda=0.1, last_lmbda=0.05)


def made(mask=MASK, **changes):
    return learner(mask=mask, **({"code_updates": 0, "distillation_updates": 0} | changes))


def test_a_task_has_the_units_of_both_its_prompts():
    """Against scikit-learn, on the same atoms; lambda falls linearly over the tasks."""
    embedding = F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(0)), dim=0)
    counts = []
    for number in range(5):
        generator = torch.Generator().manual_seed(number)
        prompt = torch.randn(88, generator=torch.Generator().manual_seed(7)).clamp(min=0.9) - 0.9
        begins = Beginning(prompt, embedding, (48, 40), number, 5, generator)
        units = MASK(MASK.first_code(begins)).split((48, 40))
        again = torch.Generator().manual_seed(number)
        lmbda = (0.1, 0.0875, 0.075, 0.0625, 0.05)[number]
        for layer, text in zip(units, prompt.split((48, 40))):
            seed = int(torch.randint(2**31, (), generator=again))
            atoms = Dictionary(len(layer), 16, seed=seed).atoms
            r = sparse_encode(
                embedding.double().numpy()[None],
                atoms.numpy(),
                algorithm="lasso_cd",
                alpha=lmbda,
                max_iter=10**6,
            )
            expected = (text > 0) | (torch.from_numpy(r)[0] > 1e-9)
            assert torch.equal(layer > 0, expected), number
            counts.append(int((torch.from_numpy(r)[0] > 1e-9).sum()))
    assert all(counts)


def by_hand(policy, units, owned, beta, x):
    """loc of a task's policy in float64, layer by layer, from Eq. 2 and the damped weights."""
    sizes, x = policy.hidden, x.double()
    phi, old = ([part.double() for part in t.split(sizes)] for t in (units, owned))
    below = torch.ones(x.shape[-1], dtype=torch.float64)  # inputs count as owned
    for i, layer in enumerate(policy.body.layers):
        damp = 1 - (1 - beta) * torch.outer(old[i], below)
        bias = layer.bias.double() * (1 - (1 - beta) * old[i])
        x = x @ (layer.weight.double() * damp).T + bias
        if i == 0:
            mine = x[:, phi[0] > 0]
            mean, variance = mine.mean(1, keepdim=True), mine.var(1, keepdim=True, correction=0)
            x = torch.tanh((x - mean) / (variance + 1e-5).sqrt())
        else:
            x = F.leaky_relu(x)
        x, below = x * phi[i], old[i]
    return x @ policy.mean.weight.double().T


@pytest.mark.parametrize("execution", ["compact", "dense"])
def test_frozen_weights_count_beta_times_in_training_and_ever_after(execution):
    one = made(execution=execution)
    train(one, 0, steps=40)
    policy, ownership = one.actor.meta_policy, one.actor.ownership
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    one.start_task(1)
    one.learn(transitions(40, seed=1))
    now = one.actor.policy(STATES)[0].detach()
    one.end_task()
    units, owned = ownership.shares[1].units, ownership.shares[0].units
    with torch.no_grad():
        expected = by_hand(policy, units, owned, 0.3, STATES)
        plain = by_hand(policy, units, owned, 1.0, STATES)
        finished = one.sub_network(1)(STATES)[0]
    torch.testing.assert_close(now.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(finished.double(), expected, rtol=1e-4, atol=1e-5)
    assert (expected - plain).abs().max() > 1e-2, "beta matters"
    for name, frozen in membership(policy, owned).items():  # written back as they were
        assert torch.equal(policy.get_parameter(name)[frozen], before[name][frozen]), name
    train(one, 2, steps=40)
    assert torch.equal(one.sub_network(1)(STATES)[0], finished)


def test_a_task_that_comes_back_goes_on_with_what_it_had():
    one = made()
    for task in range(3):
        train(one, task, steps=40)
    expected = one.sub_network(1)(STATES)[0]
    one.start_task(1)
    with torch.no_grad():
        torch.testing.assert_close(one.actor.policy(STATES)[0], expected)


def test_with_beta_1_and_no_second_prompt_it_is_step():
    ends = []
    for mask in (Step(), SSDE(beta=1.0, first_lmbda=9.0, last_lmbda=9.0)):
        one = made(mask)
        for task in range(2):
            train(one, task, steps=40)
        ends.append(torch.cat([p.detach().flatten() for p in one.actor.meta_policy.parameters()]))
    assert torch.equal(*ends)


def view(progress: float = 0.5, renewal: Sensitivity | None = None):
    """A second task's network, some updates after its start."""
    one = made(renewals=(renewal or Sensitivity(every=10**6),), protection=Freeze())
    train(one, 0, steps=40)
    one.start_task(1)
    start = {name: p.detach().clone() for name, p in one.actor.meta_policy.named_parameters()}
    one.learn(transitions(60, seed=3))
    network = network_view(one.actor.sub, STATES, torch.Generator(), {}, progress)
    return network, start, one


def test_units_that_do_not_react_get_the_weights_of_their_start():
    network, start, one = view()
    new = Sensitivity().renew(network)
    shifted = STATES + 0.01 * STATES.mean(0)
    outputs = zip(network.activations(STATES), network.activations(shifted))
    for layer, (here, there) in enumerate(outputs):
        change = (here - there).abs().mean(0)
        below = change < 0.6 * change.mean()
        assert 0 < int(below.sum()) < len(below)
        units = network.active[layer]
        for name in network.units[layer][0]:
            old = start[name][units]
            if old.ndim == 2 and layer:
                old = old[:, network.active[layer - 1]]
            assert torch.equal(new[name][below], old[below]), name
            assert torch.equal(new[name][~below], network.weights[name][~below]), name
    moved = [name for name in new if not torch.equal(new[name], network.weights[name])]
    assert set(moved) >= {"body.layers.0.weight", "body.layers.1.weight"}
    one.actor.sub.renew(new)  # what is guarded was never elsewhere
    for name, fixed in one.actor.sub.fixed.items():
        if name in new:
            assert torch.equal(new[name][fixed], one.actor.sub.weights()[name][fixed]), name


def test_late_in_a_task_and_unmoved_nothing_is_reset():
    assert Sensitivity().renew(view(progress=0.7)[0]) == {}
    network, _, _ = view()
    same = replace(network, observations=torch.zeros_like(STATES))
    for name, value in Sensitivity().renew(same).items():  # 0 is not below 0
        assert torch.equal(value, network.weights[name]), name


@pytest.mark.parametrize(
    ("component", "field"),
    [
        (SSDE(), {"beta": 0.0}),
        (SSDE(), {"last_lmbda": 0.0}),
        (Sensitivity(), {"every": 0}),
        (Sensitivity(), {"shift": 0.0}),
        (Sensitivity(), {"until": 1.5}),
        (Sensitivity(), {"threshold": -0.1}),
    ],
)
def test_values_out_of_range_are_refused(component, field):
    with pytest.raises(RecipeError, match=f"{next(iter(field))}: expected"):
        replace(component, **field)
