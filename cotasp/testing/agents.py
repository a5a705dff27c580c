"""What agents and their learners promise."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

from cotasp.agents.agent import Agent, Learner
from cotasp.methods.actor import ContinualActor
from cotasp.methods.freeze import Freeze
from cotasp.methods.trained import LossRows, Objective
from cotasp.schema import fields_of
from cotasp.storage.snapshot import pack
from cotasp.testing._ensure import ensure
from cotasp.testing._toy import (
    ACT,
    OBS,
    copied,
    ensure_compact_is_dense,
    ensure_lasts,
    first_difference,
    tensors,
    toy,
    train,
)


def check_agent(agent: Agent) -> None:
    """Checks that a learner acts within bounds, tells protections truly what its loss is of,
    forgets nothing under `freeze`, gives back its state, resumes bit for bit, and (with a field
    `execution`) is the same compact and dense.

    Args:
        agent: learns within tasks of 40 steps.

    Raises:
        AssertionError: a promise of `cotasp.agents.Agent` or `Learner` is broken.
    """
    learner = toy(agent)
    untrue = _watched(learner)
    missing = [n for n in vars(Learner) if n[0] != "_" and not callable(getattr(learner, n, None))]
    ensure(not missing, f"a learner has the methods of Learner, got none called {missing}")
    train(learner, 0)
    ensure(not untrue, next(iter(untrue), ""))
    rows = TensorDict({"observation": torch.randn(5, OBS)}, [5])
    for task in range(3):  # finished, and not begun
        action = learner.policy(task)(rows.clone())["action"]
        ensure(action.shape == (5, ACT), f"actions are [n, action_dim], got {list(action.shape)}")
        ensure((action.abs() <= 1).all(), "actions are in [-1, 1]")
    another = toy(agent)
    train(another, 0)
    place = first_difference(tensors(learner, "?"), tensors(another, "?"))
    ensure(place is None, f"equal seeds make equal learners; {place} differs")

    for start, stop in ((0, 10), (10, 30)):  # warming up, and after
        train(another, 1, start, stop)
        state = copied(another.state_dict())
        twin = toy(agent)
        twin.load_state_dict(state)
        there, back = pack(another.state_dict()), pack(twin.state_dict())
        ensure(there[0] == back[0], "a learner gives back the numbers of the state it was given")
        place = first_difference(there[1], back[1])
        ensure(place is None, f"a learner gives back the state it was given; {place} differs")
    ensure_lasts("this agent and freeze", agent, protections=(Freeze(),))
    if "execution" in fields_of(type(agent)):
        ensure_compact_is_dense("this agent", agent)


def _watched(learner: Learner) -> list[str]:
    """What turns out untrue, while the learner trains, of what its steps say of their loss."""
    untrue: list[str] = []
    actor = getattr(learner, "actor", None)
    if not isinstance(actor, ContinualActor):
        return untrue
    step = actor.step

    def watched(loss: Tensor, objective: Objective | None, rows: LossRows | None) -> None:
        weights = list(actor.sub.weights().values()) if actor.trains == "weights" else []
        if weights and rows is not None:
            places = torch.arange(len(rows.observation))
            both = (
                torch.autograd.grad(x, weights, retain_graph=True, materialize_grads=True)
                for x in (loss, rows.loss(places))
            )
            if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(*both)):
                untrue.append("the loss of all rows that a step names has the gradient of its loss")
        if weights and objective is not None and rows is not None:
            noise = torch.zeros(len(rows.observation), ACT)
            value = objective(actor.policy_in_training(), rows.observation, noise)
            if value.ndim != 0 or not value.requires_grad:
                untrue.append("the objective that a step names is a scalar with a gradient")
        step(loss, objective, rows)

    actor.step = watched  # type: ignore[method-assign]
    return untrue
