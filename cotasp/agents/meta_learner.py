"""The life of a CoMPS learner: PPO from a learned start, and the next start from what is kept."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Generator, Tensor
from torch.func import functional_call

from cotasp.agents.acting import ActingPolicy, SampledBehaviour, on_cpu
from cotasp.agents.experience import Experience, Trajectories
from cotasp.agents.meta_learning import Transitions, Weights, adapted, inner_loss
from cotasp.agents.meta_settings import MetaLearning
from cotasp.agents.meta_training import MetaTraining
from cotasp.agents.on_policy import OnPolicyLearner
from cotasp.agents.on_policy_settings import OnPolicy
from cotasp.agents.rollout import Rollout, Steps, advantages, log_density, standardised
from cotasp.errors import RecipeError
from cotasp.methods.freeze import Unprotected
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Dense
from cotasp.modules.policy import MetaPolicy


class MetaLearner:
    """Learns every task by PPO from a start that is meta-learned offline from those before.

    Each finished task keeps the policy that its training ended with, as a copy.

    Args:
        ppo: how a task is learned.
        meta: how the next start is.
        problem: the stream.
        method: of which the encoder, the dictionary and the actor's shape count: the network is one
            without masks or protection.

    Raises:
        RecipeError: more transitions than there is room for, or tasks that cannot be revisited.
    """

    def __init__(self, ppo: OnPolicy, meta: MetaLearning, problem: Problem, method: Method) -> None:
        _check_room(meta, problem)
        if meta.inner_data == "anew" and problem.revisit is None:
            raise RecipeError(
                "recipe.agent.meta.inner_data: expected 'kept' where tasks cannot be revisited, "
                "got 'anew'"
            )
        self.meta = meta
        self.problem = problem
        plain = Method(method.encoder, method.dictionary, Dense(), (Unprotected(),), method.actor)
        self.ppo = OnPolicyLearner(ppo, problem, plain)
        self.network = self.ppo.actor.meta_policy
        self.start = self._weights()
        # the deviation begins every task as it began the first, so that it explores
        self.step_sizes = {
            name: torch.full_like(weight, meta.step_size)
            for name, weight in self.start.items()
            if not name.startswith("log_std")
        }
        self.experience: list[Experience] = []  # of tasks that have begun
        self.trajectories: list[Trajectories] = []
        self.policies: list[dict[str, Tensor]] = []  # weights of tasks that have ended
        self.batches = 0  # of the task in training
        self.revisited = 0  # environment steps in finished tasks, of all times
        self.training: MetaTraining | None = None

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.network.named_parameters()}

    def _heads(self, weights: Mapping[str, Tensor], observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc and scale of the policy with these weights."""
        return functional_call(self.network, dict(weights), (observation,))

    # -- a task -----------------------------------------------------------------------------

    def start_task(self, task: int) -> dict[str, float]:
        facts = self.ppo.start_task(task)
        self.ppo.begin_with(self.start)
        self.experience.append(self._new_experience(task))
        self.trajectories.append(Trajectories(self.meta.skilled))
        self.batches = 0
        return facts

    def _new_experience(self, task: int) -> Experience:
        sizes = self.problem.observation_dim, self.problem.action_dim
        return Experience(task, _capacity(self.meta, self.problem), sizes, self.meta.keep)

    def behaviour(self) -> TensorDictModule:
        return self.ppo.behaviour()

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        ppo = self.ppo
        leaps = self.meta.fast_updates if self.policies and self.meta.inner_steps else 0
        rollout = ppo.take(data, fit_first=self.batches <= leaps)
        self.trajectories[-1].add(data)
        self.experience[-1].add(_rows(rollout))
        fast = self.batches < leaps
        losses = self._improve_fast(rollout) if fast else ppo.improve(rollout)
        losses |= ppo.fit_value(rollout, ppo.settings.epochs)
        self.batches += 1
        ppo.finish_batch()
        return losses

    def _improve_fast(self, rollout: Rollout) -> dict[str, Tensor]:
        """One inner step on a whole batch, as it was trained for; its loss."""
        weights = {name: w.detach() for name, w in self.ppo.actor.sub.weights().items()}
        rows, clip = _rows(rollout), self.meta.weight_clip
        batch = Transitions(*(column[None] for column in rows))
        self.ppo.begin_with(adapted(self._heads, weights, self.step_sizes, batch, clip))
        with torch.no_grad():
            return {"actor_loss": inner_loss(self._heads, weights, rows, clip)}

    # -- the task's end -----------------------------------------------------------------------

    def consolidate(self, seconds: float) -> tuple[int, int]:
        if self.training is None:
            self.ppo.actor.end_weights()
            self.policies.append(self._weights())
            self.training = self._new_training()
        until = time.monotonic() + seconds
        while self.training.updates < self.meta.updates:
            if not self.training.revisit():
                self.training.update()
            if time.monotonic() >= until:
                break
        return self.training.updates, self.meta.updates

    def _new_training(self) -> MetaTraining:
        task, start = len(self.policies) - 1, self.start
        seed = self.problem.seed * 10_007 + 31 * (task + 1)
        if self.meta.begin == "fresh":
            drawn = Generator().manual_seed(seed)
            start = start | {name: self.network.drawn(name, drawn) for name in self.step_sizes}
        step_sizes = self.step_sizes
        if self.meta.begin == "fresh":
            step_sizes = {k: torch.full_like(a, self.meta.step_size) for k, a in step_sizes.items()}
        skilled = [each.rows() for each in self.trajectories]
        anew = self._revisited_rows if self.meta.inner_data == "anew" else None
        return MetaTraining(
            self.meta, self._heads, start, step_sizes, self.experience, skilled, seed, anew
        )

    def _revisited_rows(self, task: int, start: Weights, updates: int) -> Transitions:
        """An episode of the start in each environment of a finished task, rows [n].

        An advantage is what follows in the episode, less its mean over episodes at the same step,
        where one that has ended has 0: there is no value network of that task and policy.
        """
        acting, network = SampledBehaviour(), self._network(start)
        acting.act_by(on_cpu(network))
        policy = TensorDictModule(acting, ["observation"], ["action", "raw_action"])
        now = len(self.policies)
        data = self.problem.revisit(task, policy, self.ppo.settings.num_envs, now, updates)  # type: ignore[misc]  # checked
        self.revisited += data.numel() * self.problem.action_repeat
        steps = Steps.of(data.to(self.ppo.device), 1.0)
        _, following = advantages(steps, lambda x: x.new_zeros(x.shape[:-1]), self.ppo.gamma, 1.0)
        ends = steps.ends.squeeze(-1).int()
        first = ends.cumsum(dim=1) == ends  # [num_envs, T], up to and with the first end
        following = following.where(first, 0.0)
        advantage = standardised((following - following.mean(dim=0))[first])
        observation, raw_action = steps.observation[first], steps.raw_action[first]
        with torch.no_grad():
            log_prob = log_density(*self._heads(start, observation), raw_action)
        return Transitions(observation, raw_action, log_prob, advantage)

    def end_task(self) -> dict[str, float]:
        updates, due = self.consolidate(0.0)
        while updates < due:
            updates, due = self.consolidate(60.0)
        training: MetaTraining = self.training  # type: ignore[assignment]  # just made
        self.start = {name: w.detach().clone() for name, w in training.start.items()}
        self.step_sizes = {name: a.detach().clone() for name, a in training.step_sizes.items()}
        self.training = None
        alpha = torch.cat([a.flatten() for a in self.step_sizes.values()])
        returns = self.trajectories[-1].returns
        return self.ppo.end_task() | {
            "meta/outer_loss_first": training.first_loss,
            "meta/outer_loss": training.loss,
            "meta/step_size_mean": float(alpha.mean()),
            "meta/step_size_negative": float((alpha < 0).float().mean()),
            "meta/transitions": float(sum(map(len, self.experience))),
            "meta/revisited_steps": float(self.revisited),
            "meta/skilled_return": sum(returns) / len(returns),
        }

    # -- what was learned -----------------------------------------------------------------------

    def sub_network(self, task: int) -> MetaPolicy:
        """A finished task's network, that of the task in training, or the start for a later one."""
        if task < len(self.policies):
            return self._network(self.policies[task])
        if task == self.ppo.actor.task and self.ppo.actor.in_training:
            return self.ppo.sub_network(task)
        return self._network(self.start)

    def _network(self, weights: Mapping[str, Tensor]) -> MetaPolicy:
        network = self.network.with_hidden(self.network.hidden)
        network.load_state_dict(dict(weights))
        return network

    def policy(self, task: int) -> TensorDictModule:
        policy = on_cpu(self.sub_network(task))
        return TensorDictModule(ActingPolicy(policy), ["observation"], ["action"])

    def summary(self) -> dict[str, Any]:
        return self.ppo.summary()

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "ppo": self.ppo.state_dict(),
            "start": self.start,
            "step_sizes": self.step_sizes,
            "policies": self.policies,
            "experience": [each.rows() for each in self.experience],
            "trajectories": [each.state_dict() for each in self.trajectories],
            "batches": self.batches,
            "revisited": self.revisited,
            "training": None if self.training is None else self.training.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ppo.load_state_dict(state["ppo"])
        self.start, self.step_sizes = dict(state["start"]), dict(state["step_sizes"])
        self.policies = [dict(weights) for weights in state["policies"]]
        self.experience = [self._new_experience(i) for i in range(len(state["experience"]))]
        for each, rows in zip(self.experience, state["experience"]):
            each.load(rows)
        self.trajectories = [Trajectories(self.meta.skilled) for _ in state["trajectories"]]
        for trajectory, saved in zip(self.trajectories, state["trajectories"]):
            trajectory.load_state_dict(saved)
        self.batches, self.revisited = int(state["batches"]), int(state["revisited"])
        self.training = None
        if state["training"] is not None:
            self.training = self._new_training()
            self.training.load_state_dict(state["training"])


def _rows(rollout: Rollout) -> Transitions:
    return Transitions(rollout.observation, rollout.raw_action, rollout.log_prob, rollout.advantage)


def _capacity(meta: MetaLearning, problem: Problem) -> int:
    """Transitions kept of a task."""
    transitions = problem.steps_per_task // problem.action_repeat
    return min(transitions, meta.rows_per_task or transitions)


def _check_room(meta: MetaLearning, problem: Problem) -> None:
    row = 4 * (problem.observation_dim + problem.action_dim + 2)
    needed = len(problem.texts) * _capacity(meta, problem) * row
    where = tempfile.gettempdir()
    free = shutil.disk_usage(where).free
    if needed > free:
        raise RecipeError(
            f"recipe.agent.meta.rows_per_task: expected transitions that fit in the "
            f"{free / 1e6:,.1f} MB left in {where}, got {_capacity(meta, problem)} of each of "
            f"{len(problem.texts)} tasks, which need {needed / 1e6:,.1f} MB; keep fewer, or set "
            f"TMPDIR to a directory on a larger disk"
        )
