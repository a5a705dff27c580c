"""The running average of the actor: what is evaluated, and what a finished task keeps."""

from __future__ import annotations

import pytest
import torch

from cotasp.methods.averaging import average_, averaging_weight
from tests.agents.problems import OBS, learner, transitions

STATES = torch.randn(32, OBS, generator=torch.Generator().manual_seed(4))


def test_the_average_is_that_of_its_recursion():
    averages, others, weights = [torch.zeros(3)], [torch.zeros(3)], torch.randn(50, 3)
    expected = torch.zeros(3)
    for steps, weight in enumerate(weights, start=1):
        average_(averages, [weight], averaging_weight(0.8, steps))
        average_(others, [weight], torch.tensor(averaging_weight(0.8, steps)))
        rate = max(0.2, 10 / (steps + 10))
        expected = (1 - rate) * expected + rate * weight
    torch.testing.assert_close(averages[0], expected)
    torch.testing.assert_close(others[0], expected)
    average_([], [], 0.2)  # nothing to average


@pytest.mark.parametrize("execution", ["compact", "dense"])
def test_a_finished_task_keeps_what_was_evaluated(execution):
    made = learner(actor_average=0.95, execution=execution)
    for task in range(2):
        made.start_task(task)
        for chunk in range(5):
            made.learn(transitions(20, seed=100 * task + chunk))
        evaluated = made.sub_network(task)(STATES)
        made.actor.sub.write_back()
        trained = made.actor.meta_policy(STATES, made.actor.final_mask())
        assert not torch.allclose(evaluated[0], trained[0], atol=1e-4)
        made.end_task()
        kept = made.sub_network(task)(STATES)
        torch.testing.assert_close(kept, evaluated)


def test_without_averaging_it_is_the_weights_themselves():
    made = learner()
    made.start_task(0)
    made.learn(transitions(60, seed=0))
    made.actor.sub.write_back()
    assert made.actor.sub.averaged() is made.actor.meta_policy


def test_learning_rates_fall_over_the_second_half():
    made = learner(final_learning_rate=0.2, learning_rate=1e-2)
    made.start_task(0)
    rates = {}
    for chunk in range(5):  # of 100 steps
        made.learn(transitions(20, seed=chunk))
        values = made.values
        optimisers = (made.actor.sub.optimiser, values.critic_optimiser, values.number_optimiser)
        (rates[made.steps],) = {optimiser.learning_rate for optimiser in optimisers}
    assert rates == pytest.approx(
        {20: 1e-2, 40: 1e-2, 60: 0.84e-2, 80: 0.52e-2, 100: 0.2e-2}, rel=1e-6
    )
