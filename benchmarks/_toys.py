"""Small runs, small learners on made-up transitions, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.agents.sac import SAC
from cotasp.methods.freeze import Freeze
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Step
from cotasp.modules.specs import ActorSpec, MLPCritic
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.sparse_coding import SparseCoding

TOY = """
stream: {name: point, goals: [right, left], horizon: 7}
steps_per_task: 40
frames_per_batch: 10
checkpoint_every: 20
encoder: {name: random, dim: 16}
dictionary: {lmbda: 0.05}
actor: {hidden: [96, 80]}
agent: {critic: {hidden: [8, 8]}, batch_size: 8, n_step: 3, warmup_steps: 20,
        distillation_updates: 3, theta_updates: 8, code_updates: 2}
evaluation: {every: 20, episodes: 2, average: 1}
"""
OBS, ACT, TASKS = 6, 2, 3
HIDDEN = (160, 144)  # more than 64, so that a sub-network is smaller also where widths are padded


def learner(device: str, seed: int = 0, **changes: Any) -> OffPolicyLearner:
    """A learner of made-up tasks; keyword arguments change the agent, and `protection`."""
    torch.manual_seed(seed)
    texts = [f"task {i}" for i in range(TASKS)]
    method = Method(
        encoder=RandomEncoder(dim=16),
        dictionary=SparseCoding(lmbda=0.05),
        mask=Step(),
        protections=(changes.pop("protection", Freeze()),),
        actor=ActorSpec(hidden=HIDDEN, log_std_range=(-5.0, 1.0), head_scale=0.1),
    )
    agent = {
        "critic": MLPCritic(hidden=(32, 32)),
        "batch_size": 32,
        "n_step": 3,
        "reward_scale": 1.0,
        "theta_updates": 18,
        "code_updates": 2,
        "warmup_steps": 0,
        "updates_per_transition": 0,
    }
    problem = Problem(texts, OBS, ACT, steps_per_task=10_000, seed=seed, device=device)
    return OffPolicyLearner(SAC(**agent | changes), problem, method)


def transitions(n: int, seed: int) -> TensorDict:
    """Random transitions as a collector gives them, on the CPU."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    ended = torch.rand(n, 1, generator=generator) < 0.1
    following = {"observation": normal(n, OBS), "reward": normal(n, 1)}
    following |= {"terminated": ended, "done": ended.clone()}
    action = normal(n, ACT).tanh()
    following = TensorDict(following, [n])
    return TensorDict({"observation": normal(n, OBS), "action": action, "next": following}, [n])


def begin(made: OffPolicyLearner, task: int) -> OffPolicyLearner:
    """The learner at the beginning of a task, its buffer filled."""
    made.start_task(task)
    made.learn(transitions(300, seed=task))
    return made


@torch.no_grad()
def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest difference of a tensor, relative to its norm."""
    norms = [(a - b).norm() / b.norm() for a, b in zip(one, other) if b.any()]
    return float(torch.stack(norms).max())


def violation(X: Tensor, D: Tensor, code: Tensor, lmbda: float) -> Tensor:
    """Distance of D(x - sD) from lmbda times the subdifferential of ||s||_1, in lmbda, [n]."""
    X, D, code = (a.double().cpu() for a in (X, D, code))
    g = (X - code @ D) @ D.mT / lmbda
    off = (g.abs() - 1.0).clamp(min=0.0)
    return torch.where(code != 0, (g - code.sign()).abs(), off).amax(1)
