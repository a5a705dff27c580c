"""A small learner of made-up tasks, and what must be equal of two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from cotasp.agents.agent import Agent, Learner
from cotasp.agents.sac import SAC
from cotasp.dictionaries import Frozen
from cotasp.methods.freeze import Freeze
from cotasp.methods.memories.shelf import Shelf
from cotasp.methods.memory import Rehearses
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Step
from cotasp.modules.specs import ActorSpec, MLPCritic
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.storage.rows import Rows
from cotasp.storage.snapshot import pack, unpack
from cotasp.testing._ensure import ensure

OBS, ACT = 6, 2
TEXTS = tuple(f"task {i}" for i in range(4))
STEPS = 40  # per task
CHUNK = 10  # between two rounds of updates
HIDDEN = (48, 40)
ACTOR = ActorSpec(hidden=HIDDEN, std="exp", log_std_range=(-5.0, 1.0), head_scale=0.1)
AGENT = SAC(
    critic=MLPCritic(hidden=(16, 16)),
    learning_rate=3e-3,
    code_learning_rate=1e-2,
    batch_size=16,
    n_step=3,
    buffer_size=1000,
    reward_scale=1.0,
    initial_temperature=0.2,
    theta_updates=7,
    code_updates=2,
    warmup_steps=13,  # so that task 2 can be stopped in the middle of the code's updates
    warmup="earlier_prompts",
    distillation_updates=3,
)


def toy(agent: Agent = AGENT, **changes: Any) -> Learner:
    """A learner of four made-up tasks, with a shelf if a protection rehearses.

    Args:
        agent: makes it.
        changes: of the method.
    """
    torch.manual_seed(0)
    method = Method(
        RandomEncoder(dim=16).prepare(TEXTS),
        SparseCoding(lmbda=0.05, update=Frozen()),
        Step(),
        (Freeze(),),
        ACTOR,
    )
    method = replace(method, **changes)
    rehearsed = any(isinstance(each, Rehearses) for each in method.protections)
    if rehearsed and "memory" not in changes:
        method = replace(method, memory=Shelf(size=20))
    problem = Problem(TEXTS, OBS, ACT, steps_per_task=STEPS, horizon=20)
    return agent.learner(problem, method)


def with_fields(component: Any, **values: Any) -> Any:
    """A component with other values in those of these fields that it has."""
    has = {field.name for field in fields(component)}
    return replace(component, **{name: value for name, value in values.items() if name in has})


def collect(learner: Learner, count: int, seed: int) -> TensorDictBase:
    """Transitions that a learner's behaviour makes of made-up observations, as of a collector."""
    generator = torch.Generator().manual_seed(seed)
    behaviour = learner.behaviour()
    states = torch.randn(count + 1, OBS, generator=generator)
    rewards = torch.randn(count, 1, generator=generator)
    steps = []
    for i, observation in enumerate(states[:-1]):
        step = TensorDict({"observation": observation, "is_init": torch.tensor([i == 0])})
        steps.append(behaviour(step))
    data: TensorDictBase = torch.stack(steps)
    flags = torch.zeros(count, 1, dtype=torch.bool)
    flags[-1] = True
    following = {"observation": states[1:], "reward": rewards, "terminated": flags}
    data["next"] = TensorDict({**following, "done": flags.clone()}, [count])
    return data


def train(learner: Learner, task: int, start: int = 0, stop: int = STEPS) -> None:
    """A task, or its part from one step to another."""
    if start == 0:
        learner.start_task(task)
    for step in range(start, stop, CHUNK):
        learner.learn(collect(learner, CHUNK, seed=1000 * task + step))
    if stop == STEPS:
        learner.end_task()


def tensors(
    learner: Learner, without: str | tuple[str, ...] = ("/actor/components", "/kept")
) -> dict[str, Tensor]:
    """A learner's state by place, copied, but for some parts of it."""
    state = pack(learner.state_dict())[1]
    return {place: t.clone() for place, t in state.items() if not place.startswith(without)}


def first_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """The place in which two states differ in a bit; None: they are equal."""
    for place in sorted({*one, *other}):
        if place not in one or place not in other or not torch.equal(one[place], other[place]):
            return place
    return None


def copied(state: Mapping[str, Any]) -> Any:
    """A state as a checkpoint would give it back: nothing is shared with the learner."""
    tree, arrays, tables = pack(state)
    arrays = {place: tensor.clone() for place, tensor in arrays.items()}
    filled = [table for table in tables.values() if table.stop]
    columns = {t.name: (t.start, t.read(t.start, t.stop)) for t in filled}

    def table(name: str, start: int, stop: int) -> Rows:
        first, of = columns.get(name, (0, {}))

        def read(begin: int, end: int) -> dict[str, Tensor]:
            return {k: c[begin - first : end - first].clone() for k, c in of.items()}

        return Rows(name, start, stop, read)

    return unpack(tree, arrays, table)


def ensure_resumes(what: str, agent: Agent = AGENT, **changes: Any) -> None:
    """Stops a learner before its second task, and in the middle of it; others go on with its state
    and must end with the same bits.

    Args:
        what: is checked, for the message.
        agent, changes: as for `toy`.
    """
    through = toy(agent, **changes)
    train(through, 0)
    _ensure_resumed(what, _stopped_in_task_1(through), tensors(through, "?"), agent, **changes)


def ensure_lasts(what: str, agent: Agent = AGENT, **changes: Any) -> None:
    """Trains three tasks; every finished one's policy must keep its bits, and others that go on
    from a stop must end the second with the same bits, see `ensure_resumes`.

    Args:
        what: is checked, for the message.
        agent, changes: as for `toy`; the protection is one that forgets nothing.
    """
    learner = toy(agent, **changes)
    train(learner, 0)
    snapshots = [_weights(learner, 0)]
    stops = _stopped_in_task_1(learner)
    ended = tensors(learner, "?")
    _ensure_kept(what, learner, snapshots)
    snapshots.append(_weights(learner, 1))
    train(learner, 2)
    _ensure_kept(what, learner, snapshots)
    _ensure_resumed(what, stops, ended, agent, **changes)


def ensure_nothing_forgotten(what: str, agent: Agent = AGENT, **changes: Any) -> None:
    """Trains three tasks; every finished one's policy must keep its bits."""
    learner = toy(agent, **changes)
    snapshots: list[dict[str, Tensor]] = []
    for task in range(3):
        train(learner, task)
        _ensure_kept(what, learner, snapshots)
        snapshots.append(_weights(learner, task))


def _stopped_in_task_1(learner: Learner) -> list[tuple[int, Any, Tensor]]:
    """Trains the second task; at its beginning and in its middle: the step, a copy of the learner's
    state, and torch's random state.
    """
    stops = []
    for start, stop in pairwise((0, 30, STEPS)):
        stops.append((start, copied(learner.state_dict()), torch.get_rng_state()))
        train(learner, 1, start, stop)
    return stops


def _ensure_resumed(
    what: str,
    stops: Sequence[tuple[int, Any, Tensor]],
    expected: Mapping[str, Tensor],
    agent: Agent,
    **changes: Any,
) -> None:
    for start, state, random in stops:
        resumed = toy(agent, **changes)
        resumed.load_state_dict(state)
        torch.set_rng_state(random)
        train(resumed, 1, start)
        place = first_difference(expected, tensors(resumed, "?"))
        ensure(place is None, f"a stopped run with {what} goes on bit for bit; {place} differs")


def _ensure_kept(what: str, learner: Learner, snapshots: Sequence[Mapping[str, Tensor]]) -> None:
    for task, weights in enumerate(snapshots):
        place = first_difference(weights, _weights(learner, task))
        promise = f"finished policies keep their bits with {what}"
        ensure(place is None, f"{promise}: {place} of task {task} moved")


def _weights(learner: Learner, task: int) -> dict[str, Tensor]:
    return {k: w.detach().clone() for k, w in learner.sub_network(task).named_parameters()}


def ensure_compact_is_dense(what: str, agent: Agent = AGENT, **changes: Any) -> None:
    """Trains two tasks in compact and in dense execution; both must end alike up to rounding.

    In float64, so that the order of sums does not matter: what remains is the algorithm.
    """
    runs = []
    with double():
        for execution in ("compact", "dense"):
            rates = with_fields(agent, execution=execution, learning_rate=1e-3)
            learner = toy(rates, **changes)
            for task in range(2):
                train(learner, task)
            runs.append([learner.sub_network(task) for task in range(2)])
    for task, (compact, dense) in enumerate(zip(*runs)):
        same = compact.hidden == dense.hidden
        ensure(same, f"compact and dense execution with {what} end task {task} with equal units")
        pairs = zip(compact.named_parameters(), dense.parameters())
        for (name, one), other in pairs:
            alike = torch.allclose(one, other, rtol=1e-4, atol=1e-7)
            ensure(alike, f"compact and dense execution with {what} differ in {name}, task {task}")


@contextmanager
def double() -> Iterator[None]:
    """Makes float64 torch's default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
