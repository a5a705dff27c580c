"""Small learners on made-up transitions: everything of a run but the environments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tensordict import TensorDict

from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.agents.sac import SAC
from cotasp.agents.settings import OffPolicy
from cotasp.methods.freeze import Freeze
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Step
from cotasp.modules.specs import ActorSpec, MLPCritic
from cotasp.prompting.encoders import RandomEncoder
from cotasp.prompting.sparse_coding import SparseCoding

OBS, ACT = 6, 2
TEXTS = [f"task {i}" for i in range(6)]


def learner(
    seed: int = 0,
    texts: list[str] | None = None,
    action_repeat: int = 1,
    agent_class: type[OffPolicy] = SAC,
    owners: tuple[int, ...] = (),
    steps: int = 100,
    **changes: Any,
) -> OffPolicyLearner:
    """A learner of six made-up tasks; keyword arguments change the method or the agent.

    Args:
        steps: of a task.
    """
    torch.manual_seed(seed)
    method: dict[str, Any] = {
        "encoder": RandomEncoder(dim=16),
        "dictionary": SparseCoding(lmbda=0.05),
        "mask": Step(),
        "protections": (Freeze(),),
        "actor": ActorSpec(hidden=(48, 40), std="exp", log_std_range=(-5.0, 1.0), head_scale=0.1),
    }
    agent = {
        "critic": MLPCritic(hidden=(16, 16)),
        "learning_rate": 3e-3,
        "code_learning_rate": 1e-2,
        "batch_size": 16,
        "n_step": 3,
        "buffer_size": 1000,
        "reward_scale": 1.0,
        "initial_temperature": 0.2,
        "actor_average": 0.0,
        "final_learning_rate": 1.0,
        "theta_updates": 8,
        "code_updates": 2,
        "warmup_steps": 20,
        "warmup": "earlier_prompts",
        "distillation_updates": 5,
    }
    for name, value in changes.items():
        if name in ("renewals", "memory"):
            method[name] = value
            continue
        if name in ("heads", "deviation"):
            method["actor"] = replace(method["actor"], **{name: value})
            continue
        if name == "protection":
            name, value = "protections", (value,)
        target = method if name in method else agent
        assert name in method or hasattr(agent_class(), name), name
        target[name] = value
    agent = {k: v for k, v in agent.items() if hasattr(agent_class(), k)}
    problem = Problem(
        texts or TEXTS,
        OBS,
        ACT,
        steps_per_task=steps,
        action_repeat=action_repeat,
        seed=seed,
        owners=owners,
    )
    return OffPolicyLearner(agent_class(**agent), problem, Method(**method))


def transitions(n: int, seed: int) -> TensorDict:
    """Random transitions as a collector gives them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    following = {
        "observation": normal(n, OBS),
        "reward": normal(n, 1),
        "terminated": torch.rand(n, 1, generator=generator) < 0.1,
    }
    following["done"] = following["terminated"]
    return TensorDict(
        {
            "observation": normal(n, OBS),
            "action": normal(n, ACT).tanh(),
            "next": TensorDict(following, [n]),
        },
        [n],
    )


def train(
    learner: OffPolicyLearner, task: int, steps: int | None = None
) -> dict[str, torch.Tensor]:
    """A whole task, or so many of its steps."""
    learner.start_task(task)
    losses = {}
    for chunk in range(0, steps or learner.problem.steps_per_task, 20):
        losses = learner.learn(transitions(20, seed=1000 * task + chunk))
    learner.end_task()
    return losses
