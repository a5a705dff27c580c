"""Returns of several steps, against TorchRL's and against their definition."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torchrl.data import MultiStep as TorchRLMultiStep

from cotasp.agents.sac import SAC
from cotasp.methods.multistep import MultiStep
from cotasp.methods.problem import Problem
from cotasp.methods.replay import Replay

GAMMA = 0.9


def steps(n: int, ends: dict[int, str], seed: int = 0) -> dict[str, torch.Tensor]:
    """Transitions numbered by their observations; `ends` says how episodes end, and where."""
    generator = torch.Generator().manual_seed(seed)
    kinds = [ends.get(i, "") for i in range(n)]
    terminated = torch.tensor([kind == "terminated" for kind in kinds])
    number = torch.arange(n, dtype=torch.float32)
    return {
        "observation": number[:, None],
        "action": torch.randn(n, 2, generator=generator),
        "reward": torch.randn(n, generator=generator),
        "next_observation": number[:, None] + 0.5,
        "terminated": terminated,
        "done": terminated | torch.tensor([kind == "truncated" for kind in kinds]),
        "is_init": torch.tensor([i == 0 or kinds[i - 1] != "" for i in range(n)]),
    }


def by_definition(data: dict[str, torch.Tensor], n: int) -> list[tuple[float, ...]]:
    """(first observation, reward, next observation, discount) of each complete row, one by one."""
    rows, total = [], len(data["reward"])
    for t in range(total):
        reward, discount, k = 0.0, 1.0, t
        while True:
            reward += discount * float(data["reward"][k])
            discount *= GAMMA
            ended = bool(data["done"][k]) or (k + 1 < total and bool(data["is_init"][k + 1]))
            if ended or k - t + 1 == n:
                break
            k += 1
            if k == total:
                return rows
        if data["terminated"][k]:
            discount = 0.0
        rows.append((float(t), reward, float(data["next_observation"][k]), discount))
    return rows


def table(rows: dict[str, torch.Tensor]) -> list[tuple[float, ...]]:
    columns = ("observation", "reward", "next_observation", "discount")
    return list(zip(*(rows[key].flatten().tolist() for key in columns)))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 6),
    total=st.integers(1, 25),
    ends=st.dictionaries(
        st.integers(0, 24), st.sampled_from(["terminated", "truncated", "broken off"])
    ),
    cuts=st.lists(st.integers(0, 25), max_size=6),
)
def test_rows_are_those_of_the_definition_however_steps_arrive(n, total, ends, cuts):
    data = steps(total, ends)
    made, found = MultiStep(n, GAMMA), []
    edges = sorted({0, total, *(cut for cut in cuts if cut < total)})
    for first, last in pairwise(edges):
        found += table(made({key: column[first:last] for key, column in data.items()}))
    expected = by_definition(data, n)
    assert len(found) == len(expected)
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-5)
    assert len(found) + len(made.pending["reward"]) == total


def test_rows_agree_with_torchrl():
    n, total = 3, 20
    data = steps(total, {6: "terminated", 13: "truncated", 19: "terminated"})
    episode = data["is_init"].long().cumsum(0) - 1
    batch = TensorDict(
        {
            "observation": data["observation"],
            "action": data["action"],
            "collector": {"traj_ids": episode},
            "next": {
                "observation": data["next_observation"],
                "reward": data["reward"][:, None],
                "done": data["done"][:, None],
                "terminated": data["terminated"][:, None],
            },
        },
        [total],
    )
    theirs = TorchRLMultiStep(GAMMA, n)(batch.unsqueeze(0)).squeeze(0)
    ours = MultiStep(n, GAMMA)(data)
    torch.testing.assert_close(ours["reward"], theirs["next", "reward"].squeeze(-1))
    torch.testing.assert_close(ours["next_observation"], theirs["next", "observation"])
    # theirs leaves `terminated` where it was, at the last of the rows that it concerns
    alive = ours["discount"] > 0
    torch.testing.assert_close(ours["discount"][alive], theirs["gamma"].flatten()[alive])
    assert (~alive).nonzero().flatten().tolist() == [4, 5, 6, 17, 18, 19]


def test_what_waits_for_more_steps_is_part_of_the_state():
    problem = Problem(["a text"], 1, 2, steps_per_task=100, horizon=10, seed=3)
    data = steps(25, {9: "truncated", 17: "terminated"})
    whole = Replay(SAC(n_step=4).sampling(problem), problem, task=0)
    stopped = Replay(SAC(n_step=4).sampling(problem), problem, task=0)
    whole.extend(as_collected(data))
    stopped.extend(as_collected({key: column[:13] for key, column in data.items()}))
    resumed = Replay(SAC(n_step=4).sampling(problem), problem, task=0)
    resumed.load_state_dict(stopped.state_dict())
    resumed.extend(as_collected({key: column[13:] for key, column in data.items()}))
    for mine, theirs in zip(whole.batches(3), resumed.batches(3)):
        assert all(map(torch.equal, mine, theirs))
    assert len(whole) == len(resumed) == 25 - 3


def as_collected(data: dict[str, torch.Tensor]) -> TensorDict:
    names = ("reward", "done", "terminated")
    following = {name: data[name][:, None] for name in names}
    following["observation"] = data["next_observation"]
    outer = {key: data[key] for key in ("observation", "action")}
    outer["is_init"] = data["is_init"][:, None]
    return TensorDict({**outer, "next": following}, [len(data["reward"])])


def test_rewards_are_of_an_environment_step_on_average():
    data = steps(10, {})
    replays = [
        Replay(SAC(n_step=1, reward_scale=0.5).sampling(problem), problem, task=0)
        for problem in (
            Problem(["a text"], 1, 2, steps_per_task=100),
            Problem(["a text"], 1, 2, steps_per_task=400, action_repeat=4),
        )
    ]
    for replay in replays:
        replay.extend(as_collected(data))
    one, four = (replay.buffer.storage[:]["reward"] for replay in replays)
    torch.testing.assert_close(one, 0.5 * data["reward"])
    torch.testing.assert_close(four, 0.125 * data["reward"])
    assert [replay.capacity for replay in replays] == [100, 100]


@pytest.mark.parametrize(
    ("horizon", "repeat", "expected"),
    [(200, 4, 0.96), (200, 2, 0.98), (200, 1, 0.99), (30, 1, 0.95), (5000, 1, 0.995)],
)
def test_the_discount_fits_the_episode(horizon, repeat, expected):
    problem = Problem(["a text"], 1, 2, 10_000, horizon, repeat)
    assert SAC().sampling(problem).gamma == pytest.approx(expected)
    assert SAC(gamma=0.5).sampling(problem).gamma == 0.5
    assert SAC().sampling(Problem(["a text"], 1, 2, 10_000)).gamma == 0.99
