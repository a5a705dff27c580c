"""Trials of earlier policies: which acts when, what each earns, and which goes on."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from cotasp.agents.acting import Behaviour
from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.agents.sac import SAC
from cotasp.agents.trials import Trials
from cotasp.errors import RecipeError
from cotasp.methods.freeze import Unprotected
from cotasp.modules.masks import Dense
from cotasp.modules.specs import ActorSpec
from tests.agents.problems import OBS, learner, train, transitions

STATES = torch.randn(32, OBS, generator=torch.Generator().manual_seed(4))


def episodes(*rewards: list[float], broken: tuple[int, ...] = ()) -> TensorDict:
    """Transitions of some episodes; those numbered in `broken` end without being done."""
    reward = torch.tensor([r for episode in rewards for r in episode])
    begins = [i == 0 for episode in rewards for i in range(len(episode))]
    ends = [
        i == len(episode) - 1 and n not in broken
        for n, episode in enumerate(rewards)
        for i in range(len(episode))
    ]
    following = {"reward": reward[:, None], "done": torch.tensor(ends)[:, None]}
    count = len(reward)
    return TensorDict(
        {"is_init": torch.tensor(begins)[:, None], "next": TensorDict(following, [count])}, [count]
    )


def episode(reward: float) -> TensorDict:
    data = transitions(10, seed=0)
    data["next", "done"][:] = data["next", "terminated"][:] = False
    data["next", "done"][-1] = True
    data["next", "reward"][:] = reward
    data["is_init"] = torch.arange(10)[:, None] == 0
    return data


def tries(
    head_start: str = "best", owners: tuple[int, ...] = (), warmup_steps: int = 60
) -> OffPolicyLearner:
    """Two finished tasks, and a third that has begun its warm-up, in which both are tried."""
    made = learner(
        owners=owners,
        mask=Dense(),
        protection=Unprotected(),
        actor=ActorSpec(hidden=(24, 24), heads="per_task"),
        code_updates=0,
        distillation_updates=0,
        warmup="best_earlier",
        head_start=head_start,
        warmup_steps=warmup_steps,
    )
    for task in range(2):
        train(made, task, steps=80)
    made.start_task(2)
    return made


@pytest.mark.parametrize("broken", [(), (1,)])
def test_the_policy_of_the_best_episode_is_chosen(broken):
    trials, data = Trials(3), episodes([1, 1], [2, 3], [4], [9, 9], broken=broken)
    assert trials.best is None
    for first in range(0, len(data), 2):  # however it comes in pieces
        other = Trials(3)
        other.load_state_dict(trials.state_dict())
        trials = other
        trials.add(data[first : first + 2])
    assert trials.returns == [2.0, 5.0, 4.0]  # what comes after the trials does not count
    assert trials.best == 1


def test_policies_take_turns_from_the_first_on():
    behaviour = Behaviour(1)
    spread = torch.full((1,), 1e-3)
    behaviour.act_by(
        *(lambda x, loc=loc: (torch.tensor([loc]), spread) for loc in (-1.0, 0.0, 1.0)),
        in_turn=True,
    )
    behaviour.begin_turns()
    acted = []
    for step in range(10):
        action = behaviour(torch.zeros(2), torch.tensor([step % 2 == 0]))
        acted.append(round(float(action.atanh())))
        other = Behaviour(1)
        other.set_extra_state(behaviour.get_extra_state())
        assert other.policy_index == behaviour.policy_index
    assert acted == [-1, -1, 0, 0, 1, 1, -1, -1, 0, 0]


@pytest.mark.parametrize("head_start", ["fresh", "best"])
def test_the_best_earlier_policy_acts_in_warm_up_and_may_begin_the_new_head(head_start):
    made = tries(head_start)
    fresh = made.sub_network(2)(STATES)[0]
    for reward in (1.0, 5.0):  # of the first two policies
        assert len(made.acting.policies) == 2
        made.learn(episode(reward))
    (acts,) = made.acting.policies
    assert torch.equal(acts(STATES)[0], made.sub_network(1)(STATES)[0])
    mine = made.sub_network(2)(STATES)[0]
    assert torch.equal(mine, fresh) == (head_start == "fresh")
    if head_start == "best":
        torch.testing.assert_close(mine, made.sub_network(1)(STATES)[0])


def test_a_head_start_needs_trials():
    with pytest.raises(RecipeError, match=r"^head_start: expected fresh, for no policy is tried"):
        SAC(head_start="best")


def test_where_warm_up_ends_first_the_best_of_those_tried_counts():
    trials = Trials(3)
    assert trials.best_tried is None
    trials.add(episodes([1, 1], [5], [9], broken=(2,)))  # the third is not over
    assert (trials.best, trials.best_tried) == (None, 1)


def test_a_warm_up_of_fewer_episodes_than_policies_ends_with_a_head_start_all_the_same():
    made = tries(warmup_steps=10)
    own = made.actor.meta_policy.rows(2), made.actor.meta_policy.rows(0)
    made.learn(episode(1.0))  # of the first; the second has no turn
    weight = made.actor._weights()["mean.weight"]
    made.actor.sub.write_back()
    assert torch.equal(weight[own[0]], weight[own[1]])


def test_the_head_of_a_task_that_returns_is_its_own():
    made = tries(owners=(0, 1, 0, 3, 4, 5))
    before = made.sub_network(2)(STATES)[0]
    for reward in (1.0, 5.0):
        made.learn(episode(reward))
    assert made.trials.best == 1
    assert torch.equal(made.sub_network(2)(STATES)[0], before)
