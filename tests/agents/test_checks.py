"""A first mask without units is refused, and the setting to blame is named."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from cotasp.agents.checks import check_episode, check_losses
from cotasp.agents.sac import SAC
from cotasp.errors import ConvergenceWarning, PluginError, RecipeError, RunError
from cotasp.methods.problem import Problem
from cotasp.modules import Sigmoid
from cotasp.modules.specs import ActorSpec
from cotasp.prompting import OneHot, SparseCoding
from tests.agents.problems import TEXTS, learner


@pytest.mark.parametrize("seed", range(4))
def test_of_an_lmbda_too_large_the_largest_usable_is_told(seed):
    with pytest.raises(RecipeError) as told:
        learner(seed, dictionary=SparseCoding(lmbda=10.0))
    message = str(told.value)
    assert message.startswith("recipe.dictionary.lmbda: task 1 ('task 0') gets no neuron in hidden")
    usable = float(re.search(r"is about ([\d.e-]+)$", message)[1])
    learner(seed, dictionary=SparseCoding(lmbda=usable))
    with pytest.raises(RecipeError, match=rf"lmbda: .* is about {usable:g}$"):
        learner(seed, dictionary=SparseCoding(lmbda=1.15 * usable))


def test_a_mask_policy_that_leaves_nothing_of_a_code_is_told():
    with pytest.raises(RecipeError, match=r"^recipe\.mask: task 1 .* layer 1: Sigmoid switches"):
        learner(mask=Sigmoid(threshold=5.0))


def test_a_solver_that_stops_at_zero_is_told():
    class Lazy:
        supports_positive = exact = True

        def __call__(self, X, dictionary, *, lmbda, positive, init):
            return X.new_zeros(len(X), len(dictionary)), X.new_zeros(len(X))

    with (
        pytest.warns(ConvergenceWarning, match="6 of 6 rows did not converge"),
        pytest.raises(RecipeError, match=r"^recipe\.dictionary\.solver: task 1 .*: Lazy stopped"),
    ):
        learner(dictionary=SparseCoding(solver=Lazy(), lmbda=0.05))


def test_a_layer_too_narrow_for_its_texts_is_told():
    with pytest.raises(RecipeError, match=r"^recipe\.actor\.hidden: .*layer 1, with any lmbda"):
        learner(encoder=OneHot(dim=16).prepare(TEXTS), actor=ActorSpec(hidden=(1, 40)))


@dataclass(frozen=True)
class Mute:
    """An encoder that cannot speak."""

    dim: ClassVar[int] = 16

    def __call__(self, texts):
        raise LookupError("no voice")


def test_an_encoder_that_fails_is_named():
    with pytest.raises(PluginError, match=r"encoder Mute \(of .*\) raised LookupError: no voice"):
        learner(encoder=Mute())


def test_the_first_loss_that_is_not_finite_is_told():
    nan, inf = float("nan"), float("inf")
    check_losses({"critic_loss": torch.ones(3), "actor_loss": torch.ones(3)}, 7)
    for critic, actor, message in [
        ([1, nan, inf], [1, 1, 1], "critic_loss is nan at update 9;"),
        ([1, 1, nan], [1, inf, nan], "actor_loss is inf at update 9;"),  # not what follows
        ([nan, 1, 1], [nan, 1, 1], "critic_loss is nan at update 8;"),
    ]:
        with pytest.raises(RunError, match=message):
            check_losses(
                {"critic_loss": torch.tensor(critic), "actor_loss": torch.tensor(actor)}, 7
            )


def test_returns_of_more_steps_than_an_episode_has_are_refused():
    problem = Problem(["a text"], 4, 2, steps_per_task=1000, horizon=20, action_repeat=4)
    check_episode(SAC(n_step=5), problem)
    with pytest.raises(RecipeError, match=r"^recipe.agent.n_step: expected at most the 5 actions "):
        check_episode(SAC(n_step=6), problem)
    check_episode(SAC(n_step=6), replace(problem, horizon=None))


@pytest.mark.parametrize(("gamma", "fits"), [(0.99, False), (0.95, True), (0.5, True), (1, False)])
def test_a_discount_that_does_not_fit_the_episode_is_warned_of(gamma, fits):
    problem = Problem(["a text"], 4, 2, steps_per_task=1000, horizon=200, action_repeat=10)
    with nullcontext() if fits else pytest.warns(UserWarning, match=r"leave it out .* about 0.95$"):
        check_episode(SAC(gamma=gamma), problem)
