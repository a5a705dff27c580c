"""Acting: a policy, and the behaviour that collects a task's data."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchrl.envs.utils import ExplorationType, exploration_type

from cotasp.modules.policy import Policy
from cotasp.storage.tensors import check_shapes


def on_cpu(network: nn.Module, mask: Tensor | None = None, head: int = 0) -> Policy:
    """Its policy on the CPU, where environments are: an action for one observation takes several
    times as long on a GPU.  A network that is there already is used as it is, another one copied.

    Args:
        network: a `MetaPolicy`.
        mask: [sum(hidden)]; None: the whole network.
        head: by which it acts.
    """
    if next(network.parameters()).device.type != "cpu":
        network = copy.deepcopy(network).to("cpu")
    return partial(network, mask=None if mask is None else mask.cpu(), head=head)


class ActingPolicy(nn.Module):
    """A policy's actions in [-1, 1].

    TorchRL's exploration type decides between tanh(loc) and a sample.

    Args:
        policy: the policy, where the environment is; see `on_cpu`.
        squashed_noise: whether noise is added before the squashing, or after it and clipped.
    """

    policy: Policy

    def __init__(self, policy: Policy, squashed_noise: bool = True) -> None:
        super().__init__()
        self.__dict__["policy"] = policy  # no submodule: nobody is to copy or to move it
        self.squashed_noise = squashed_noise

    @torch.no_grad()
    def forward(self, observation: Tensor) -> Tensor:
        """Actions [*, action_dim] of observations [*, n]."""
        loc, scale = self.policy(observation)
        if exploration_type() is ExplorationType.RANDOM:
            return noisy(loc, scale * torch.randn_like(loc), self.squashed_noise)
        return torch.tanh(loc)


def noisy(loc: Tensor, noise: Tensor, squashed: bool) -> Tensor:
    """tanh(loc + noise), or tanh(loc) + noise clipped to [-1, 1].

    A mean near the corners keeps the second kind of noise, which the first would squash to nothing.
    """
    return torch.tanh(loc + noise) if squashed else (torch.tanh(loc) + noise).clamp(-1.0, 1.0)


class Behaviour(nn.Module):
    """Actions that explore: at random, by one of several policies, or by the one in training.

    Random actions are held for a number of steps drawn from a geometric distribution: held ones
    carry an arm somewhere, white ones shake it on the spot (after temporally extended
    exploration, arXiv 2006.01782).  The policies' noise may be correlated from one step to the
    next, eps_t = c eps_{t-1} + sqrt(1 - c^2) N(0, 1), of the variance of white noise
    (autoregressive policies, arXiv 1903.11524).

    Args:
        action_dim: size of an action.
        hold: transitions for which a random action is held on average, at least 1.
        correlation: c, in [0, 1).
        squashed_noise: whether noise is added before the squashing, or after it and clipped.
    """

    policies: tuple[Policy, ...]

    def __init__(
        self,
        action_dim: int,
        hold: float = 1.0,
        correlation: float = 0.0,
        squashed_noise: bool = True,
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.squashed_noise = squashed_noise
        self.hold = hold
        self.correlation = correlation
        # not submodules: a collector must neither copy nor move what the learner trains
        self.__dict__["policies"] = ()
        self.policy_index = 0  # of the policies, for the episode under way
        self.in_turn = False
        self.random_action: Tensor | None = None
        self.noise: Tensor | None = None

    def act_by(self, *policies: Policy, in_turn: bool = False) -> None:
        """Acts by the given policies, which are where the environment is, see `on_cpu`; among
        several, one is drawn for every episode, or they take turns, from the first one on.
        """
        self.__dict__["policies"] = policies
        self.in_turn = in_turn

    def begin_turns(self) -> None:
        """Gives the next episode to the first of the policies that take turns."""
        self.policy_index = -1

    def act_uniformly(self) -> None:
        """Acts uniformly at random."""
        self.act_by()

    @torch.no_grad()
    def forward(self, observation: Tensor, is_init: Tensor) -> Tensor:
        """Actions [*, action_dim] of observations [*, n].

        Args:
            observation: of the environment.
            is_init: bool [*, 1], whether an episode begins.
        """
        begins, policies = bool(is_init.any()), self.policies
        if not policies:
            if self.random_action is None or begins or self.hold * float(torch.rand(())) < 1.0:
                shape = (*observation.shape[:-1], self.action_dim)
                self.random_action = torch.rand(shape, device=observation.device) * 2.0 - 1.0
            return self.random_action
        index = self.policy_index
        if len(policies) == 1:
            index = 0
        elif self.in_turn:
            index = (index + begins) % len(policies)
        elif begins or index >= len(policies):
            index = int(torch.randint(len(policies), ()))
        if index != self.policy_index:  # setting a module's attribute is as slow as adding tensors
            self.policy_index = index
        loc, scale = policies[index](observation)
        if exploration_type() is ExplorationType.RANDOM:
            return noisy(loc, scale * self._next_noise(loc, begins), self.squashed_noise)
        return torch.tanh(loc)

    def _next_noise(self, like: Tensor, begins: bool) -> Tensor:
        noise = torch.randn_like(like)
        if self.correlation:
            if self.noise is not None and not begins:
                c = self.correlation
                noise = c * self.noise + math.sqrt(1.0 - c * c) * noise
            self.noise = noise
        return noise

    def get_extra_state(self) -> dict[str, Any]:
        """What the next action depends on besides the policies; all of `state_dict()`."""
        return {
            "policy_index": self.policy_index,
            "random_action": self.random_action,
            "noise": self.noise,
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_extra_state` returned, of a single environment.

        Raises:
            RunError: the state is of other actions.
        """
        tensors = {k: state[k] for k in ("random_action", "noise") if state[k] is not None}
        check_shapes("behaviour", tensors, {name: [self.action_dim] for name in tensors})
        self.policy_index = max(-1, int(state["policy_index"]))
        self.random_action, self.noise = (
            tensors[name].clone() if name in tensors else None
            for name in ("random_action", "noise")
        )


class SampledBehaviour(nn.Module):
    """Actions tanh(u), u drawn from a policy's Gaussian, which are kept with what was drawn.

    It remembers nothing from step to step.
    """

    policy: Policy

    def act_by(self, policy: Policy) -> None:
        """Acts by a policy, which is where the environment is, see `on_cpu`."""
        self.__dict__["policy"] = policy  # no submodule, as of `Behaviour`

    @torch.no_grad()
    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions in [-1, 1] and u, [*, action_dim] each, of observations [*, n]."""
        loc, scale = self.policy(observation)
        raw = loc
        if exploration_type() is ExplorationType.RANDOM:
            raw = loc + scale * torch.randn_like(loc)
        return torch.tanh(raw), raw
