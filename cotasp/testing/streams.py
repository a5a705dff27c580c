"""What streams and their environments promise."""

from __future__ import annotations

import json
import pickle

import torch
from tensordict import TensorDictBase

from cotasp.tasks.streams import Counted, Stream
from cotasp.tasks.task import Task
from cotasp.testing._ensure import ensure


def check_stream(stream: Stream, environments: int | None = None) -> None:
    """Checks tasks, protocol and environments.

    Args:
        stream: what is checked.
        environments: how many of its tasks' environments are made and stepped; None: all.

    Raises:
        AssertionError: a promise of `cotasp.tasks.Stream` or `Task` is broken.
    """
    tasks = stream.make_tasks()
    ensure(len(tasks) > 0, "there is a task")
    if isinstance(stream, Counted):
        ensure(stream.n_tasks == len(tasks), "there are as many tasks as n_tasks says")
    ensure(len({task.name for task in tasks}) == len(tasks), "each task has a name of its own")
    ensure(all(task.text.strip() for task in tasks), "every task has a text")
    ensure(tasks == stream.make_tasks(), "the tasks are the same each time")
    try:
        there = pickle.loads(pickle.dumps(tasks))
    except Exception as error:  # pickle raises whatever its objects do
        raise AssertionError(f"tasks go to other processes: {error}") from error
    ensure(there == tasks, "tasks are the same in other processes")
    repeats = {task.action_repeat for task in tasks}
    ensure(repeats == {stream.action_repeat}, "tasks hold actions for as long as the stream says")
    horizon = stream.horizon
    ensure(horizon is None or horizon >= 1, f"an episode has a step, got {horizon}")
    protocol = stream.protocol()
    ensure(json.loads(json.dumps(protocol)) == protocol, "the protocol is JSON")
    plain = all(isinstance(value, (str, int, float)) for value in protocol.values())
    ensure(plain, "the protocol holds words and numbers")
    sizes = {_check_environment(task) for task in tasks[:environments]}
    ensure(len(sizes) == 1, f"all tasks have the same observations and actions, got {sizes}")


def _check_environment(task: Task) -> tuple[int, int]:
    """Its numbers of observations and actions."""
    one, same = task.make_env(seed=1), task.make_env(seed=1)
    many = task.make_env(num_envs=2, seed=1)
    try:
        ensure(one.batch_size == (), "a single environment has no batch")
        ensure(many.batch_size == (2,), "two environments are a batch of two")
        n_obs = one.observation_spec["observation"].shape[-1]
        n_act = one.action_spec.shape[-1]
        low, high = one.action_spec.space.low, one.action_spec.space.high
        ensure((low == -1).all() and (high == 1).all(), "actions lie in [-1, 1]")
        first, other = (_episode(env, n_act) for env in (one, same))
        for step, (a, b) in enumerate(zip(first, other)):
            for key in ("observation", "reward", "terminated", "success"):
                equal = torch.equal(a[key], b[key])
                ensure(equal, f"equal seeds make equal environments; {key} of step {step} differs")
        for key in ("observation", "reward"):
            ensure(first[0][key].dtype == torch.float32, f"{key} is float32")
            finite = all(step[key].isfinite().all() for step in first)
            ensure(finite, f"{key} is finite")
        ensure(first[0]["observation"].shape == (n_obs,), "observations are as specified")
        ensure(many.reset()["observation"].shape == (2, n_obs), "so are those of a batch")
    finally:
        for env in (one, same, many):
            env.close()
    return n_obs, n_act


def _episode(env, n_act: int, steps: int = 5) -> list[TensorDictBase]:
    generator = torch.Generator().manual_seed(0)
    data, transitions = env.reset(), []
    for _ in range(steps):
        data["action"] = torch.rand(n_act, generator=generator) * 2 - 1
        transitions.append(env.step(data)["next"])
        if transitions[-1]["done"].any():
            break
        data = transitions[-1].clone()
    return transitions
