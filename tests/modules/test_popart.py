"""PopArt: values stay as statistics move, and these become those of the targets."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.modules.ensembles import bind, fit
from cotasp.modules.specs import PopArtCritic
from cotasp.recipe import Recipe
from cotasp.tasks.point_streams import Point
from tests.agents.problems import learner, train

OBS, ACT, B = 5, 2, 12


def made(tasks=1, **fields):
    torch.manual_seed(0)
    return PopArtCritic((16, 16), tasks=tasks, **fields).build(OBS, ACT).double()


def rows(tasks, seed, count=B):
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn(count, OBS, generator=generator, dtype=torch.float64)
    turn = torch.randint(tasks, (count,), generator=generator)
    if tasks > 1:
        observation[:, -tasks:] = torch.eye(tasks, dtype=torch.float64)[turn]
    action = torch.randn(count, ACT, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, generator=generator, dtype=torch.float64)
    return observation, action, noise, turn


@pytest.mark.parametrize("tasks", [1, 3])
def test_no_value_changes_as_statistics_do(tasks):
    critics = made(tasks, rate=0.3)
    probe = rows(tasks, seed=1)
    before = critics(*probe[:2]).detach().clone()
    for step in range(20):
        observation, _, noise, turn = rows(tasks, seed=step)
        bind(critics).adapt(observation, 50.0 * 10.0 ** turn.double() * (noise + 3.0))
    assert bool((critics.square > 100.0).all())
    torch.testing.assert_close(critics(*probe[:2]).detach(), before, rtol=1e-9, atol=1e-9)


def test_a_tasks_statistics_become_those_of_its_own_targets_as_they_are():
    """Not normalised: mean and deviation by torch over all that was given."""
    critics = made(2, rate=0.01)
    given = []
    for step in range(3000):
        observation, _, noise, turn = rows(2, seed=step, count=8)
        target = torch.where(turn == 0, 100.0 + 20.0 * noise, -3.0 + 0.5 * noise)
        bind(critics).adapt(observation, target)
        given.append((target, turn))
    targets, turns = (torch.cat(column[-1000:]) for column in zip(*given))
    for task in range(2):
        own = targets[turns == task]
        torch.testing.assert_close(critics.mean[task].detach(), own.mean(), rtol=0.02, atol=0.1)
        deviation = bind(critics).deviation()[task].detach()
        torch.testing.assert_close(deviation, own.std(), rtol=0.1, atol=0.0)


def test_statistics_are_the_papers_step_and_those_of_absent_tasks_stay():
    critics = made(3, rate=0.25)
    observation, _, target, turn = rows(3, seed=4)
    observation, target = observation[turn != 1], target[turn != 1]
    bind(critics).adapt(observation, target)
    own = target[turn[turn != 1] == 2]
    assert critics.mean[2].item() == pytest.approx(0.25 * own.mean().item())
    assert critics.square[2].item() == pytest.approx(1 + 0.25 * (own.square().mean().item() - 1))
    assert (critics.mean[1], critics.square[1]) == (0.0, 1.0)


def test_it_is_fitted_to_normalised_targets_by_autograds_gradient():
    critics = made(3, rate=0.5)
    for step in range(3):
        observation, action, noise, turn = rows(3, seed=step)
        target = 40.0 * (noise + turn)
        bind(critics).adapt(observation, target)
    loss, gradients = bind(critics).loss_and_gradients(observation, action, target)
    mean = critics.mean[turn]
    deviation = (critics.square - critics.mean**2).sqrt()[turn]
    outputs, _ = bind(critics).layers.taped(observation, action)
    own = outputs.gather(-1, turn.view(1, -1, 1).expand(2, -1, 1)).squeeze(-1)
    expected = (own - (target - mean) / deviation).square().mean(-1).sum()
    torch.testing.assert_close(loss, expected.detach())
    weights = [p for p in critics.parameters() if p.requires_grad]
    for got, want in zip(gradients[2:], torch.autograd.grad(expected, weights)):
        torch.testing.assert_close(got, want)


def test_it_learns_large_targets_that_a_plain_critic_of_such_steps_does_not_reach():
    from cotasp.methods.adam import Adam

    errors = []
    for rate in (1e-9, 0.1):  # the first never adapts
        critics = made(1, rate=rate)
        adam = Adam(critics.parameters(), 1e-3)
        for step in range(300):
            observation, action, _, _ = rows(1, seed=step)
            target = 1000.0 + 200.0 * observation[:, 0]
            _, gradients = fit(bind(critics), observation, action, target)
            adam.step(gradients)
        errors.append(float((critics(observation, action) - target).abs().mean().detach()))
    assert errors[1] < 0.3 * errors[0]


def test_statistics_are_saved_and_targets_follow_them():
    one = learner(critic=PopArtCritic((16, 16), rate=0.1))
    train(one, 0)
    network, target = one.values.network, one.values.target_network
    assert network.mean.item() != 0.0
    assert target.mean.item() != 0.0
    saved = one.values.state_dict()["critics"]
    assert torch.equal(saved["mean"], network.mean)


def test_outputs_must_be_told_apart():
    together = Point(goals=("right", "left"), together=2)
    Recipe(stream=together, agent=_agent(2))
    for fields in ({"stream": Point()}, {"stream": together, "task_input": "number"}):
        with pytest.raises(RecipeError, match=r"agent\.critic\.tasks: expected 1, or"):
            Recipe(agent=_agent(2), **fields)
    with pytest.raises(RecipeError, match="rate: expected in"):
        PopArtCritic(rate=0.0)


def _agent(tasks):
    from cotasp.agents.sac import SAC

    return SAC(critic=PopArtCritic(tasks=tasks))
