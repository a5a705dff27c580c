"""Settings for which a task or an episode is too short, told from numbers alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cotasp.agents.budget import Budget, check_budget, check_returns, first_update_after
from cotasp.agents.sac import SAC
from cotasp.errors import RecipeError
from cotasp.recipe import Recipe


@pytest.mark.parametrize(
    ("warmup", "n_step", "repeat", "first"),
    [(0, 1, 1, 0), (20, 1, 1, 20), (20, 1, 4, 5), (0, 5, 1, 4), (20, 5, 10, 4)],
)
def test_a_task_needs_one_transition_more_than_come_before_the_first_update(
    warmup, n_step, repeat, first
):
    settings = SAC(warmup_steps=warmup, n_step=n_step)
    assert first_update_after(settings, Budget(40, repeat)) == first
    check_budget(settings, Budget((first + 1) * repeat, repeat))
    field = "warmup_steps" if warmup // repeat >= n_step - 1 else "n_step"
    with pytest.raises(RecipeError, match=rf"^recipe\.agent\.{field}: expected .* train longer$"):
        check_budget(settings, Budget(first * repeat, repeat))


def test_an_episode_needs_as_many_actions_as_a_return_has():
    check_returns(SAC(n_step=5), Budget(1000, 4, horizon=20))
    with pytest.raises(RecipeError, match=r"^here\.n_step: expected at most the 5 actions of an "):
        check_returns(SAC(n_step=6), Budget(1000, 4, horizon=20), "here")
    check_returns(SAC(n_step=6), Budget(1000, 4, horizon=None))


def test_a_recipe_that_could_not_learn_is_not_made():
    recipe = Recipe(steps_per_task=2040, agent=SAC(warmup_steps=2000))
    for changes in ({"steps_per_task": 2000}, {"agent": SAC(n_step=31)}):
        with pytest.raises(RecipeError, match=r"^agent\."):
            replace(recipe, **changes)


def test_an_agent_without_warm_up_is_not_asked_for_one():
    @dataclass(frozen=True)
    class Bandit:
        def learner(self, problem, method) -> Any: ...

    Recipe(steps_per_task=40, agent=Bandit())


def test_the_checks_need_no_torch():
    code = "import sys, cotasp.agents.budget; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
