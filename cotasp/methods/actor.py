"""What is continual about an actor: its share of the meta-policy, and what protects the others'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cotasp.methods.adam import Adam
from cotasp.methods.allocation import allocation_facts
from cotasp.methods.batch import Batch
from cotasp.methods.beginning import Beginnings, Scale
from cotasp.methods.checks import (
    check_first_masks,
    check_sub_network,
    load_tasks,
    warn_if_little_is_free,
)
from cotasp.methods.code import TaskCode
from cotasp.methods.components import Components, DrawRows
from cotasp.methods.ending import keep_weights, own_weights
from cotasp.methods.finished import FinishedPolicies
from cotasp.methods.gradients import DrawRehearsal, Gradients
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.methods.prompts import Prompts, begun_tasks
from cotasp.methods.scores import TaskScores
from cotasp.methods.stackable import not_stackable
from cotasp.methods.subpolicy import SubPolicy
from cotasp.methods.trained import ActorRates, LossRows, Objective
from cotasp.modules.mask_capabilities import Keeps, Scales, imitates
from cotasp.modules.ownership import Ownership
from cotasp.modules.policy import MetaPolicy, Policy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import extract


class ContinualActor:
    """Trains weights and code of one sub-network per task, of one meta-policy (CoTASP).

    Args:
        problem: the stream.
        method: allocation and protection.
        rates: how it is trained.
        rehearsal: gives rows of finished tasks; None: there never are any.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        rates: ActorRates,
        rehearsal: DrawRehearsal | None = None,
    ) -> None:
        self.problem = problem
        self.rates = rates
        self.device = torch.device(problem.device)
        self.prompts = Prompts(method, problem.texts, problem.seed, self.device, problem.phrasings)
        self.embeddings = self.prompts.embeddings
        self.prompter, self.masks = self.prompts.prompter, self.prompts.masks
        self.ownership = self.prompts.ownership
        self.meta_policy: MetaPolicy = method.actor.build(
            problem.observation_dim, problem.action_dim, len(problem.texts)
        ).to(self.device)
        hidden = self.meta_policy.hidden
        self.codes = torch.zeros(len(problem.texts), sum(hidden), device=self.device)
        self.scores: TaskScores | None = None  # of the task in training
        self.beginnings = Beginnings(method.mask, self.meta_policy, problem, rates)
        self.components = Components(method, problem.seed, self.meta_policy, self.device)
        self.sub = SubPolicy(
            self.meta_policy,
            rates.learning_rate,
            rates.compact,
            rates.multiple,
            rates.average,
            rates.clip,
            self.components.asks_start,
            problem.seed,
        )
        self.task = -1
        self.trains = ""  # "weights", "code" or "both"; of no task yet
        self.progress = 0.0  # of the task in training
        finished = FinishedPolicies(self.sub, self.ownership, problem.action_dim)
        self.gradients = Gradients(self.components, self.sub, finished, problem.marks, rehearsal)
        returning = len(self.beginnings.tasks) < len(problem.texts)
        self.not_stackable = not_stackable(method, returning)  # the component that is not, or None
        self.in_training = False  # whether a task has begun and not ended
        self._begun: Scale = {}, 0.0  # of the task in training, where its mask says
        self._kept: Scale = {}, 0.0  # of the task that ends
        self.teacher: Policy | None = None  # whom the task that ends is to act like
        masks = self.prompt_mask(self.embeddings)
        check_first_masks(masks, self.prompter, self.masks, self.embeddings, problem)

    # -- a task's beginning -------------------------------------------------------------------

    def begin_task(self, task: int) -> dict[str, float]:
        """Takes the task's prompt for its code, or what it had before; facts worth logging.

        Args:
            task: its number; one that has ended goes on.
        """
        self.task, self.in_training = task, True
        embedding, before = self.embeddings[task], self._before
        if before is None:
            with torch.no_grad():
                prompt = self.prompter(embedding).to(self.device)
                self.codes[task] = self.beginnings.first_code(task, prompt, embedding)
        self.beginnings.draw_weights(task, self.ownership.shares, self.embeddings)
        self._begin_choices()
        check_sub_network(self.final_mask(), self.masks, self.problem, task)
        self.begin_weights()
        active = self.final_mask().split(self.meta_policy.hidden)
        free = self.sub.free_fraction(self.final_mask() > 0)
        if self.scores is None:  # who can do without
            warn_if_little_is_free(free, task, self.problem.texts, self.embeddings)
        facts = {f"active/layer{i}": float(m.mean()) for i, m in enumerate(active, start=1)}
        return facts | {"free": free}

    @property
    def _before(self) -> Share | None:
        """What the task in training had ended with before; None: it has never ended."""
        return self.ownership.shares.get(self.task)

    @property
    def returns(self) -> bool:
        """Whether the task in training had ended before, and goes on."""
        return self._before is not None

    @property
    def learns_codes(self) -> bool:
        """Whether updates of the code change anything, for masks have a gradient by it."""
        return self.masks.policy.gradient != "none"

    def _begin_choices(self) -> None:
        """Begins what the task chooses its part of the network by, beside the weights: its code,
        and scores of weights where its mask has them.
        """
        code, rate = self.codes[self.task], self.rates.code_learning_rate
        self.task_code = TaskCode(code, self.masks, rate)
        self.scores = self.beginnings.scores(self.task, self._before)
        if self.scores is not None:
            self.sub.multipliers = self.scores.multipliers

    @property
    def code(self) -> Tensor:
        """Of the task in training, [sum(hidden)]."""
        return self.task_code.parameter

    @property
    def others(self) -> Ownership:
        """The shares of all tasks but the one in training."""
        return self.ownership.without(self.task)

    def begin_weights(self, free: Mapping[str, Tensor] | None = None) -> None:
        """Forgets the optimiser and average of the weights, and asks the guards anew.

        Args:
            free: what may move besides, true where it may.
        """
        others = self.others
        self._owned = others.owned  # does not change while a task trains
        limits = self.beginnings.limits(free)
        guard = self.components.guard(self.meta_policy, others, limits)
        self._begun = self.beginnings.scale(self._before, guard)
        self.sub.begin_task(guard, self.components.states, self._head(self.task), *self._begun)
        self.trains = ""

    def begin_head_as(self, task: int) -> None:
        """Begins the head of the task in training as that of a finished one, and its optimiser
        anew; where all tasks share a head there is nothing to do.
        """
        if self.meta_policy.heads == 1:
            return
        self.sub.write_back()
        mine, other = self.meta_policy.rows(self.task), self.meta_policy.rows(task)
        for name, weight in self._weights().items():
            if not self.meta_policy.is_shared(name):
                weight[mine] = weight[other].clone()
        self.begin_weights()

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
        what = what if self.task_code.learned is None else "both"
        if what == self.trains and not (anew and policy.gradient == "smooth"):
            return
        if self.trains:
            self.sub.write_back()
        off_only = policy.local and policy.gradient == "clipped"
        self.sub.cut(self.mask().detach(), full=what != "weights" and not off_only)
        self.trains = what

    def _head(self, task: int) -> int:
        return task if self.meta_policy.heads > 1 else 0

    @property
    def network_in_training(self) -> tuple[MetaPolicy, Tensor | None, int]:
        """The network that trains, the mask of its units, if any, and which of its heads acts."""
        return self.sub.acting(), self._mask_in_training, self.sub.head

    @property
    def _mask_in_training(self) -> Tensor | None:
        """What multiplies the units of the network that trains; None: nothing."""
        return self.sub.select(self.mask().detach()) if self.trains == "both" else self.sub.mask

    def policy(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """loc, scale [B, action_dim] of the sub-network in training."""
        return self.sub(observation, self._mask_in_training)

    def policy_in_training(self) -> Policy:
        """The same, attached to what now trains."""
        if self.trains == "weights":
            return self.sub
        mask = self.sub.select(self.mask())
        self._attached = mask.requires_grad
        return partial(self.sub, mask=mask)

    def step(self, loss: Tensor, objective: Objective | None, rows: LossRows | None) -> None:
        """One step of the weights or the code down a loss; see `TrainedActor.step`."""
        if self.trains != "weights":
            loss = loss + self.task_code.cost(self.progress, self._owned)
        if self.trains == "code":
            if self._attached:
                self.task_code.step(*torch.autograd.grad(loss, [self.code]))
            return
        scores = [] if self.scores is None else self.scores.tensors
        codes = [self.code] if self.trains == "both" else []
        gradients, slopes = self.gradients(loss, [*scores, *codes], objective, rows)
        self.sub.step(gradients)
        self.sub.draw()  # Gaussian weights, for the next update and what acts until then
        if self.scores is not None:
            self.scores.step(slopes[: len(scores)])
        if codes:
            self.task_code.step(slopes[-1])

    def renew(self, batch: Batch) -> None:
        """Renewals that are due after the last step of the weights."""
        factors = self.beginnings.factors
        self.components.renew(self.sub, batch.observation, self.progress, factors)

    @property
    def optimisers(self) -> list[Adam]:
        """Of the weights in training, and of the scores by which they are chosen."""
        return [self.sub.optimiser, *([] if self.scores is None else [self.scores.optimiser])]

    def mask(self) -> Tensor:
        """Mask [sum(hidden)] of the task in training, attached to its code."""
        return self.task_code.mask(self.progress)

    def final_mask(self) -> Tensor:
        """The binary mask that the task in training would keep if it ended now."""
        return self.task_code.final_mask()

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Of the network in training, and the code."""
        yield from self.sub.network.named_parameters("policy")
        yield "code", self.code
        if self.scores is not None:
            yield from ((f"scores.{name}", p) for name, p in self.scores.parameters.items())

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
        self._kept = self._read()
        mask = self.masks.policy
        if not isinstance(mask, Keeps):
            return 0
        if imitates(mask):
            self.teacher = extract(self.meta_policy, self._share_now())
        left = len(self.beginnings.tasks) - len(self.others.shares)
        scale, further = keep_weights(mask, self.meta_policy, self.others, left, updates)
        read, _ = self._begun  # empty: everything
        scale = {name: keep & read[name] if name in read else keep for name, keep in scale.items()}
        self._kept = scale, 0.0
        everything = {k: torch.ones_like(w, dtype=torch.bool) for k, w in self._weights().items()}
        self.begin_weights(free=everything | scale)
        return further

    def _read(self) -> Scale:
        """Which weights the task in training reads: what its scores say, or what its mask said."""
        return self._begun if self.scores is None else (self.scores.final(), 0.0)

    def _share_now(self) -> Share:
        """What the task in training would keep if it ended now, but for weights of its own."""
        scale, rest = self._read()
        return Share(self.final_mask() > 0, self._head(self.task), scale, rest=rest)

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.meta_policy.named_parameters()}

    def end_task(self, rows: DrawRows) -> dict[str, float]:
        """Claims the task's share, lets protections remember, teaches the dictionaries.

        Args:
            rows: (number, generator) to as many rows of the task.
        """
        task, mask = self.task, self.final_mask()
        check_sub_network(mask, self.masks, self.problem, task)
        self.codes[task] = self.code.detach()
        own, (scale, rest) = own_weights(self.masks.policy, self.meta_policy), self._kept
        share = Share(mask > 0, self._head(task), scale, own, rest)
        self.ownership.claim(task, share, replace=True)  # it may have come back
        self.teacher = None
        self.in_training = False
        self.components.remember(task, self.meta_policy, share, rows)
        report = self.prompts.end_task(task, self.code.detach().cpu())
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
        would keep if it ended now, of a later one what it would begin with now.
        """
        if self.in_training:
            self.sub.write_back()  # without protection, other tasks' policies train along
        # the task in training is judged by what it would keep
        whole = self.sub.averaged() if self.in_training else self.meta_policy
        if self.in_training and task == self.task:
            return extract(whole, self._share_now())
        if task in self.ownership.shares:
            return self.ownership.cut(whole, task)
        return self._first_sub_network(whole, task)

    @torch.no_grad()
    def _first_sub_network(self, whole: MetaPolicy, task: int) -> MetaPolicy:
        """The network that a task which has not begun would begin with now."""
        embedding, scores = self.embeddings[task], self.beginnings.scores(task, None)
        prompt = self.prompter(embedding).to(self.device)
        units = self.masks(self.beginnings.first_code(task, prompt, embedding)) > 0
        guard = None
        if isinstance(self.masks.policy, Scales):  # nobody else reads it
            guard = self.components.guard(whole, self.ownership, self.beginnings.limits())
        scale, rest = self.beginnings.scale(None, guard)
        if scores is not None:
            scale, rest = scores.final(), 0.0
        first = self.beginnings.first_weights(task, self.ownership.shares, self.embeddings)
        if first:
            weights, whole = dict(whole.named_parameters()), whole.with_hidden(whole.hidden)
            whole.load_state_dict(weights | first)
        return extract(whole, Share(units, self._head(task), scale, rest=rest))

    def prompt_mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.prompts.mask(embedding)

    def summary(self) -> dict[str, Any]:
        """Facts of the whole run: capacity, overlaps, text similarities; see `allocation_facts`."""
        owners = [self.problem.owner(task) for task in range(len(self.problem.texts))]
        hidden = self.meta_policy.hidden
        return allocation_facts(self.ownership, self.embeddings, hidden, owners)

    def state_dict(self) -> dict[str, Any]:
        """Everything; tensors, numbers and None."""
        if self.in_training:
            self.sub.write_back()
        return {
            "task": self.task,
            "meta_policy": self.meta_policy.state_dict(),
            "prompter": self.prompter.state_dict(),
            "ownership": self.ownership.state_dict(),
            "codes": self.codes,
            "embeddings": self.embeddings,
            "components": self.components.state_dict(),
            "draws": self.sub.generator.get_state(),
            "training": self._training() if self.in_training else None,
        }

    def _training(self) -> dict[str, Any]:
        return {
            "trains": self.trains,
            "progress": self.progress,
            **self.task_code.state_dict(),
            "sub": self.sub.state_dict(),
        } | ({} if self.scores is None else {"scores": self.scores.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Of the tasks that had not begun, the actor keeps its own texts: they may be others.

        Raises:
            RunError: the state knows tasks that the actor does not, or by other embeddings.
        """
        self.task = int(state["task"])
        weights = self._weights()
        load_tasks(state, begun_tasks(state), self.embeddings, self.codes, self.ownership, weights)
        self.meta_policy.load_state_dict(state["meta_policy"])
        self.prompter.load_state_dict(state["prompter"])
        self.components.load_state_dict(state["components"])
        training = state["training"]
        self.in_training = training is not None
        if training is not None:
            self._load_training(training)
        self.sub.generator.set_state(state["draws"].cpu())

    def _load_training(self, training: Mapping[str, Any]) -> None:
        self._begin_choices()
        self.task_code.load_state_dict(training)
        if self.scores is not None:
            self.scores.load_state_dict(training["scores"])
        self.begin_weights()
        self.sub.load_state_dict(training["sub"])
        self.trains, self.progress = str(training["trains"]), float(training["progress"])
