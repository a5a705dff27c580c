"""What is continual about an actor: its share of the meta-policy, and what protects the others'."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cotasp.errors import calling
from cotasp.methods.adam import Adam
from cotasp.methods.batch import Batch, Rehearsal
from cotasp.methods.checks import (
    check_first_masks,
    check_sub_network,
    load_tasks,
    warn_if_little_is_free,
)
from cotasp.methods.memory import Rehearses
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.methods.protection import Begins, Ending, Guards, Now, Penalises, Remembers, Transforms
from cotasp.methods.renewing import network_seen
from cotasp.methods.subpolicy import Policy, SubPolicy
from cotasp.modules.masks import Keeps
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.subnetwork import extract
from cotasp.modules.tensordict import LayerMasks
from cotasp.prompting.prompter import Prompter
from cotasp.storage.tensors import check_shapes

Objective = Callable[[Policy, Tensor, Tensor], Tensor]  # policy, observations, noise -> scalar
Draw = Callable[[int, torch.Generator], "Rehearsal | None"]  # number of rows -> as many old ones


class TrainedActor(Protocol):
    """The actor that an update trains: one, or many stacked."""

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [*, B, action_dim] of the sub-network in training."""

    def policy_in_training(self) -> Policy:
        """The same, attached to what now trains: weights or code."""

    def step(self, loss: Tensor, objective: Objective | None = None) -> None:
        """One step of what trains down a loss, the sum of all learners'.

        Args:
            loss: scalar, of `policy_in_training`.
            objective: what it is of any policy, observations and noise, for protections that ask.
        """


@dataclass(frozen=True)
class ActorRates:
    """How an actor is trained.

    Args:
        learning_rate, code_learning_rate: Adam's.
        compact: whether only active units are computed.
        multiple: of which widths are then; see `SubPolicy`.
        average: decay of the weights' running average; 0: there is none.
        clip: largest norm of the weights' gradient; None: any.
    """

    learning_rate: float
    code_learning_rate: float
    compact: bool = True
    multiple: int = 1
    average: float = 0.0
    clip: float | None = None


@dataclass
class Component:
    """A protection or renewal, what it remembers, and its random numbers."""

    component: Any
    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    generator: torch.Generator = field(default_factory=torch.Generator)


class ContinualActor:
    """Trains weights and code of one sub-network per task, of one meta-policy (CoTASP).

    Args:
        problem: the stream.
        method: allocation and protection.
        rates: how it is trained.
        rehearsal: gives rows of finished tasks; None: there never are any.
    """

    def __init__(
        self, problem: Problem, method: Method, rates: ActorRates, rehearsal: Draw | None = None
    ) -> None:
        self.problem = problem
        self.rates = rates
        self.rehearsal = rehearsal
        self.device = torch.device(problem.device)
        with calling("encoder", method.encoder):
            self.embeddings = method.encoder(problem.texts)
            self.phrasings = [method.encoder(texts) for texts in problem.phrasings]
        self.meta_policy: MetaPolicy = method.actor.build(
            problem.observation_dim, problem.action_dim
        ).to(self.device)
        hidden = self.meta_policy.hidden
        self.prompter = Prompter(
            method.dictionary, hidden, method.encoder.dim, seed=problem.seed, data=self.embeddings
        )
        self.masks = LayerMasks(method.mask, hidden)
        self.ownership = Ownership(len(problem.texts), sum(hidden)).to(self.device)
        self.codes = torch.zeros(len(problem.texts), sum(hidden), device=self.device)
        self.protections = [Component(p) for p in method.protections]
        for each in self.protections:
            if isinstance(each.component, Begins):
                with calling("protection", each.component):
                    each.state = each.component.begin(self.meta_policy)
        self.renewals = [Component(r) for r in method.renewals]
        for i, each in enumerate((*self.protections, *self.renewals)):
            each.generator.manual_seed(problem.seed * 10_007 + 7919 * (i + 1))
        self.sub = SubPolicy(
            self.meta_policy,
            rates.learning_rate,
            rates.compact,
            rates.multiple,
            rates.average,
            rates.clip,
        )
        self.task = -1
        self.trains = ""  # "weights" or "code"; of no task yet
        self.progress = 0.0  # of the task in training
        self._scale: dict[str, Tensor] = {}  # of the task that ends
        # whether a protection looks at updates
        self.asked = any(isinstance(p, (Penalises, Transforms)) for p in method.protections)
        masks = self.prompt_mask(self.embeddings)
        check_first_masks(masks, self.prompter, self.masks, self.embeddings, problem)

    # -- a task's beginning -------------------------------------------------------------------

    def begin_task(self, task: int) -> dict[str, float]:
        """Takes the task's prompt for its code; facts worth logging."""
        self.task = task
        with torch.no_grad():
            self.codes[task] = self.prompter(self.embeddings[task]).to(self.device)
        self.code = nn.Parameter(self.codes[task].clone())
        self.new_code_optimiser()
        check_sub_network(self.final_mask(), self.meta_policy.hidden, self.problem, task)
        self.begin_weights()
        active = self.final_mask().split(self.meta_policy.hidden)
        free = self.sub.free_fraction(self.final_mask() > 0)
        warn_if_little_is_free(free, task, self.problem.texts, self.embeddings)
        facts = {f"active/layer{i}": float(m.mean()) for i, m in enumerate(active, start=1)}
        return facts | {"free": free}

    def begin_weights(self, free: Mapping[str, Tensor] | None = None) -> None:
        """Forgets the optimiser and average of the weights, and asks the guards anew.

        Args:
            free: what may move besides, true where it may.
        """
        guards = [] if free is None else [free]
        for each in self.protections:
            if isinstance(each.component, Guards):
                with calling("protection", each.component):
                    guard = each.component.guard(self.meta_policy, self.ownership)
                guards += [] if guard is None else [guard]
        joint = None
        if guards:
            joint = {k: torch.stack([g[k] for g in guards]).all(0) for k in guards[0]}
        self.sub.begin_task(joint, [each.state for each in self.protections])
        self.trains = ""

    def new_code_optimiser(self) -> None:
        """Forgets the moments of the code."""
        self.code_optimiser = Adam([self.code], self.rates.code_learning_rate)

    @property
    def not_stackable(self) -> str | None:
        """The component that steps of many stacked actors cannot serve; None: there is none."""
        for each in self.renewals:
            return type(each.component).__name__
        for each in self.protections:
            asks = getattr(each.component, "asks_policy", False)
            if asks or isinstance(each.component, (Transforms, Rehearses)):
                return type(each.component).__name__
        return None

    @property
    def in_training(self) -> bool:
        """Whether a task has begun and not ended."""
        return self.task >= 0 and not bool(self.ownership.finished[self.task])

    # -- updates ------------------------------------------------------------------------------

    def train(self, what: str, progress: float, anew: bool = False) -> None:
        """Makes the weights or the code what the next steps train.

        Args:
            what: `"weights"` or `"code"`.
            progress: of the task, in [0, 1], which a smooth mask follows.
            anew: whether a smooth mask is to follow now.
        """
        self.progress = progress
        policy = self.masks.policy
        if what == self.trains and not (anew and policy.gradient == "smooth"):
            return
        if self.trains:
            self.sub.write_back()
        off_only = policy.local and policy.gradient == "clipped"
        self.sub.cut(self.mask().detach(), full=what == "code" and not off_only)
        self.trains = what

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [B, action_dim] of the sub-network in training."""
        return self.sub(observation)

    def policy_in_training(self) -> Policy:
        """The same, attached to what now trains."""
        if self.trains != "code":
            return self.sub
        mask = self.sub.select(self.mask())
        self._attached = mask.requires_grad
        return partial(self.sub, mask=mask)

    def step(self, loss: Tensor, objective: Objective | None = None) -> None:
        """One step of the weights or the code down a loss; see `TrainedActor.step`."""
        if self.trains == "code":
            if self._attached:
                self.step_code(*torch.autograd.grad(loss, [self.code]))
            return
        weights = self.sub.weights()
        if not self.asked:
            gradients = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
            self.sub.step(dict(zip(weights, gradients)))
            return
        seen = [
            Now(
                weights,
                state,
                self._old_policy,
                self._objective(objective, each),
                each.generator,
                self._rehearsed(each),
            )
            for each, state in zip(self.protections, self.sub.states)
        ]
        loss = add_penalties(loss, self.protections, seen)
        changed: Mapping[str, Tensor] = dict(
            zip(weights, torch.autograd.grad(loss, list(weights.values()), materialize_grads=True))
        )
        for each, now in zip(self.protections, seen):
            if isinstance(each.component, Transforms):
                with calling("protection", each.component):
                    changed = each.component.transform(changed, now)
        self.sub.step(changed)

    def renew(self, batch: Batch) -> None:
        """Renewals that are due after the last step of the weights."""
        for each in self.renewals:
            if self.sub.optimiser.steps % each.component.every == 0:
                with torch.no_grad(), calling("renewal", each.component):
                    seen = network_seen(self.sub, batch.observation, each.generator, each.state)
                    self.sub.renew(each.component.renew(seen))

    def _policy_of(self, task: int) -> Policy:
        owned = self.ownership
        return self.sub.of_share(owned.masks[task].float(), owned.scales.get(task, {}))

    def _rehearsed(self, each: Component) -> Rehearsal | None:
        if self.rehearsal is None or not isinstance(each.component, Rehearses):
            return None
        return self.rehearsal(each.component.rehearsal, each.generator)

    def _old_policy(self, observation: Tensor, task: int | Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(task, int):
            return self._policy_of(task)(observation)
        places = self.ownership.alike(task)  # one pass for all tasks of equal shares
        if len(places) == 1:
            return self._policy_of(int(task[0]))(observation)
        outputs = [self._policy_of(int(task[i[0]]))(observation[i]) for i in places]
        back = torch.cat(places).argsort()
        loc, scale = map(torch.cat, zip(*outputs))
        return loc[back], scale[back]

    def _objective(
        self, objective: Objective | None, each: Component
    ) -> Callable[[Tensor, int | Tensor], Tensor] | None:
        if objective is None:
            return None

        def of_rows(observation: Tensor, task: int | Tensor) -> Tensor:
            shape = len(observation), self.problem.action_dim
            noise = torch.randn(shape, generator=each.generator).to(observation)
            return objective(lambda x: self._old_policy(x, task), observation, noise)

        return of_rows

    def step_code(self, gradient: Tensor) -> None:
        """One step of the code that leaves every layer a unit."""
        before = self.code.detach().clone()
        self.code_optimiser.step([gradient])
        with torch.no_grad():
            hidden = self.meta_policy.hidden
            layers = zip(*(x.split(hidden) for x in (self.code, self.final_mask(), before)))
            for code, mask, old in layers:
                if not mask.any():
                    code.copy_(old)  # a layer must not be switched off altogether

    def mask(self) -> Tensor:
        """Mask [sum(hidden)] of the task in training, attached to its code."""
        return self.masks(self.code, self.progress)

    @torch.no_grad()
    def final_mask(self) -> Tensor:
        """The binary mask that the task in training would keep if it ended now."""
        return self.masks(self.code.detach())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Of the network in training, and the code."""
        yield from self.sub.network.named_parameters("policy")
        yield "code", self.code

    # -- a task's end -------------------------------------------------------------------------

    def end_weights(self) -> None:
        """Puts what was trained, averaged, into the meta-policy."""
        self.sub.write_back()
        self.sub.keep_average()
        self.trains = ""

    def prune(self, updates: int) -> int:
        """Lets the mask choose the weights that the task keeps; further updates of those.

        Args:
            updates: that the task has had.
        """
        self._scale = {}
        mask = self.masks.policy
        if not isinstance(mask, Keeps):
            return 0
        used = self.ownership.used(self.meta_policy)
        with calling("mask", mask):
            self._scale, further = mask.keep(
                self._full_weights(), used, len(self.problem.texts) - self.task, updates
            )
        with torch.no_grad():  # what nobody uses begins the next task at 0
            for name, keep in self._scale.items():
                self._full_weights()[name].masked_fill_(~(keep | used[name]), 0.0)
        everything = {k: torch.ones_like(v) for k, v in used.items()}
        self.begin_weights(free=everything | self._scale)
        return further

    def _full_weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.meta_policy.named_parameters()}

    def end_task(self, rows: Callable[[int, torch.Generator], Batch]) -> dict[str, float]:
        """Claims the task's share, lets protections remember, teaches the dictionaries.

        Args:
            rows: (number, generator) to as many rows of the task.
        """
        task, mask = self.task, self.final_mask()
        check_sub_network(mask, self.meta_policy.hidden, self.problem, task)
        self.codes[task] = self.code.detach()
        self.ownership.claim(task, mask, self._scale)
        for each in self.protections:
            if isinstance(each.component, Remembers):
                drawn = partial(_drawn, rows, each.generator)
                ending = Ending(task, self.meta_policy, mask, drawn, each.state, each.generator)
                with calling("protection", each.component):
                    each.state = each.component.remember(ending)
        embedding = self.embeddings[task]
        if self.phrasings and len(self.phrasings[task]):
            embedding = torch.cat([embedding[None], self.phrasings[task]])
        report = self.prompter.end_task(embedding, self.code.detach().cpu())
        owned = self.ownership.owned.split(self.meta_policy.hidden)
        return {f"dictionary/{name}": value for name, value in report.items()} | {
            f"owned/layer{i}": float(units.float().mean()) for i, units in enumerate(owned, 1)
        }

    # -- what a task's policy is ----------------------------------------------------------------

    def finished_policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [n, action_dim] of the task that has just ended."""
        return self.ownership.cut(self.meta_policy, self.task)(observation)

    def sub_network(self, task: int) -> MetaPolicy:
        """A task's network, cut out: of a finished task its own, of the one in training what it
        would keep if it ended now, of a later one what its text alone gives.
        """
        if self.in_training:
            self.sub.write_back()  # without protection, other tasks' policies train along
        # the task in training is judged by what it would keep
        whole = self.sub.averaged() if self.in_training else self.meta_policy
        if self.ownership.finished[task]:
            return self.ownership.cut(whole, task)
        if task == self.task:
            return extract(whole, self.final_mask())
        return extract(whole, self.prompt_mask(self.embeddings[task]))

    def prompt_mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.masks(self.prompter(embedding).to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """Everything; tensors, numbers and None."""
        if self.in_training:
            self.sub.write_back()
        return {
            "task": self.task,
            "meta_policy": self.meta_policy.state_dict(),
            "prompter": self.prompter.state_dict(),
            "ownership": self.ownership.state_dict(),
            "scales": {str(task): scale for task, scale in self.ownership.scales.items()},
            "codes": self.codes,
            "embeddings": self.embeddings,
            "components": {
                name: {"state": each.state, "generator": each.generator.get_state()}
                for name, each in self._components()
            },
            "training": self._training() if self.in_training else None,
        }

    def _components(self) -> Iterator[tuple[str, Component]]:
        """By names that a run which goes on with other components does not mistake."""
        for each in self.protections:
            yield type(each.component).__name__, each
        for i, each in enumerate(self.renewals):
            yield f"{type(each.component).__name__}_{i}", each

    def _training(self) -> dict[str, Any]:
        return {
            "trains": self.trains,
            "progress": self.progress,
            "code": self.code.detach(),
            "code_optimiser": self.code_optimiser.state_dict(),
            "sub": self.sub.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Of the tasks that had not begun, the actor keeps its own texts: they may be others.

        Raises:
            RunError: the state knows tasks that the actor does not, or by other embeddings.
        """
        self.task = int(state["task"])
        weights = self._full_weights()
        load_tasks(state, self.task + 1, self.embeddings, self.codes, self.ownership, weights)
        self.meta_policy.load_state_dict(state["meta_policy"])
        self.prompter.load_state_dict(state["prompter"])
        for name, each in self._components():
            saved = state["components"].get(name)
            if saved is not None:
                each.state = on_device(saved["state"], self.device)
                each.generator.set_state(saved["generator"])
        training = state["training"]
        if training is None:
            return
        check_shapes("task", {"code": training["code"]}, {"code": self.codes.shape[1:]})
        self.code = nn.Parameter(training["code"].to(self.device, copy=True))
        self.new_code_optimiser()
        self.code_optimiser.load_state_dict(training["code_optimiser"])
        self.begin_weights()
        self.sub.load_state_dict(training["sub"])
        self.trains, self.progress = str(training["trains"]), float(training["progress"])


def on_device(
    state: Mapping[str, Mapping[str, Tensor]], device: torch.device
) -> dict[str, dict[str, Tensor]]:
    """A copy of a component's state."""
    return {k: {n: t.to(device, copy=True) for n, t in of.items()} for k, of in state.items()}


def _drawn(
    rows: Callable[[int, torch.Generator], Batch], generator: torch.Generator, count: int
) -> Batch:
    return rows(count, generator)


def add_penalties(loss: Tensor, protections: list[Component], seen: list[Now]) -> Tensor:
    """A loss and the penalties of all protections that have one."""
    for each, now in zip(protections, seen):
        if isinstance(each.component, Penalises):
            with calling("protection", each.component):
                penalty = each.component.penalty(now)
            loss = loss if penalty is None else loss + penalty
    return loss
