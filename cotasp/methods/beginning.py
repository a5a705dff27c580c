"""What a task begins with, where its mask says: a code, weights, scores, and what may move."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cotasp.errors import component_errors, refuse_returned
from cotasp.methods.problem import Problem
from cotasp.methods.scores import TaskScores, scored_weights
from cotasp.methods.trained import ActorRates
from cotasp.modules.mask_capabilities import (
    Beginning,
    FirstCode,
    Keeps,
    Past,
    Private,
    Scales,
    Scored,
    WarmStarts,
    Wires,
    Workspace,
    imitates,
)
from cotasp.modules.masks import MaskPolicy
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.returned import wrong_tensor, wrong_tensors
from cotasp.modules.share import Share

Scale = tuple[Mapping[str, Tensor], float]  # `scale` and `rest` of a share


class Beginnings:
    """Asks a mask for what tasks begin with; where it does not say, that is the text's prompt,
    the weights of now, no scores, and all that protections let move.

    Args:
        mask: of the recipe.
        policy: the meta-policy, as it was drawn; gets here what it has before the first task.
        problem: the stream.
        rates: how scores train.
    """

    def __init__(
        self, mask: MaskPolicy, policy: MetaPolicy, problem: Problem, rates: ActorRates
    ) -> None:
        self.mask = mask
        self.policy = policy
        self.seed = problem.seed
        self.rates = rates
        # tasks of the stream that have policies of their own, in order
        self.tasks = sorted({problem.owner(task) for task in range(len(problem.texts))})
        self._scored = mask if isinstance(mask, Scored) else None
        if self._scored is not None:
            self._draw_scored(self._scored)
        # what a drawn weight is multiplied by, by parameter's name, 0: it is not there; empty: by 1
        self.factors = self._draw_wires(mask) if isinstance(mask, Wires) else {}
        # true where there is a weight; empty: everywhere
        self.wires = {name: factor != 0 for name, factor in self.factors.items()}

    # -- before the first task ----------------------------------------------------------------

    @torch.no_grad()
    def _draw_scored(self, mask: Scored) -> None:
        """Gives the weights that tasks choose among what they begin with."""
        with component_errors("mask", mask):
            for weight in scored_weights(self.policy).values():
                weight.copy_(mask.first_weight(weight.clone()))

    @torch.no_grad()
    def _draw_wires(self, mask: Wires) -> dict[str, Tensor]:
        """Leaves the network the weights that a mask says; their factors, every name's."""
        weights = dict(self.policy.named_parameters())
        with component_errors("mask", mask):
            factors = mask.wires(self.policy, len(self.tasks))
        self._refuse("wires", "numbers", wrong_tensors(factors, weights, every=False))
        for name, factor in factors.items():
            weights[name].mul_(factor)
        return {name: torch.ones_like(weight) for name, weight in weights.items()} | dict(factors)

    # -- a task -------------------------------------------------------------------------------

    def _generator(self, task: int) -> torch.Generator:
        """Random numbers of a task's beginning, from the first one on."""
        return torch.Generator().manual_seed(self.seed * 10_007 + task)

    def first_code(self, task: int, prompt: Tensor, embedding: Tensor) -> Tensor:
        """The code [sum(hidden)] of a task that begins for the first time.

        Args:
            task: its number.
            prompt: what its text gives, [sum(hidden)].
            embedding: of its text, [m].
        """
        mask = self.mask
        if not isinstance(mask, FirstCode):
            return prompt
        place, generator = self.tasks.index(task), self._generator(task)
        hidden, tasks = self.policy.hidden, len(self.tasks)
        with component_errors("mask", mask):
            code = mask.first_code(Beginning(prompt, embedding, hidden, place, tasks, generator))
        wrong = wrong_tensor(code, prompt.shape, prompt.dtype)
        expected = "an entry per unit, of the prompt's type"
        refuse_returned("mask", mask, "first_code", expected, wrong)
        return code

    @torch.no_grad()
    def draw_weights(self, task: int, shares: Mapping[int, Share], embeddings: Tensor) -> None:
        """Gives the meta-policy the weights that a task begins with; see `first_weights`."""
        weights = dict(self.policy.named_parameters())
        for name, weight in self.first_weights(task, shares, embeddings).items():
            weights[name].copy_(weight)

    @torch.no_grad()
    def first_weights(
        self, task: int, shares: Mapping[int, Share], embeddings: Tensor
    ) -> dict[str, Tensor]:
        """The weights that a task begins with, by name, where they are not those there are: its
        own, if the mask is private, or a workspace drawn anew.

        Args:
            task: its number.
            shares: of the tasks that have ended; where there is none, the first one has what was
                drawn.
            embeddings: of all tasks' texts, [T, m].
        """
        mask, first, generator = self.mask, dict[str, Tensor](), self._generator(task)
        if isinstance(mask, Private):
            if task in shares:
                return dict(shares[task].own)
            if mask.anew and shares:
                names = dict(self.policy.named_parameters())
                first = {name: self.policy.drawn(name, generator) for name in names}
            if isinstance(mask, WarmStarts):
                first |= self._warm_start(mask, task, shares, embeddings)
        if isinstance(mask, Workspace) and shares:
            first |= self._drawn_workspace(mask, generator)
        return first

    def _warm_start(
        self, mask: WarmStarts, task: int, shares: Mapping[int, Share], embeddings: Tensor
    ) -> dict[str, Tensor]:
        """What a mask makes of finished networks."""
        own = [
            {name: weight for name, weight in share.own.items() if self.policy.is_shared(name)}
            for _, share in sorted(shares.items())
        ]
        past = Past(embeddings[task], embeddings[sorted(shares)], own, self.seed)
        weights = dict(self.policy.named_parameters())
        with component_errors("mask", mask):
            first = mask.first_weights(past)
        self._refuse("first_weights", "numbers", wrong_tensors(first, weights, every=False))
        return first

    def _drawn_workspace(self, mask: Workspace, generator: torch.Generator) -> dict[str, Tensor]:
        first = {}
        for name, part in self._workspace(mask).items():
            weight = self.policy.get_parameter(name).detach()
            drawn = self.policy.drawn(name, generator)
            first[name] = torch.where(part, drawn * self.factors.get(name, 1.0), weight)
        return first

    def _workspace(self, mask: Workspace) -> dict[str, Tensor]:
        """What a mask says that tasks work in, bool by parameter's name."""
        with component_errors("mask", mask):
            parts = mask.workspace(self.policy)
        weights = dict(self.policy.named_parameters())
        wrong = wrong_tensors(parts, weights, torch.bool, every=False)
        self._refuse("workspace", "bool tensors", wrong)
        return parts

    def scores(self, task: int, share: Share | None) -> TaskScores | None:
        """New scores of a task, or those of its share where it has ended; None: it has none."""
        if self._scored is None:
            return None
        weights, kept = scored_weights(self.policy), {} if share is None else share.scale
        rate, average = self.rates.learning_rate, self.rates.average
        return TaskScores(self._scored, weights, kept, rate, average, self._generator(task))

    def limits(self, free: Mapping[str, Tensor] | None = None) -> list[Mapping[str, Tensor]]:
        """What a task may move besides what protections let it, true where it may.

        Args:
            free: takes the place of what tasks train until their end.
        """
        trained = self._trained() if free is None else free
        return [limit for limit in (trained, self.wires) if limit]

    def _trained(self) -> dict[str, Tensor]:
        """True for what alone a task trains until its end, by name; empty: everything."""
        if isinstance(self.mask, Workspace):
            return self._own_heads() | self._workspace(self.mask)
        fixed = self._scored is not None and not self._scored.trains_weights
        return self._own_heads() if fixed else {}

    def _own_heads(self) -> dict[str, Tensor]:
        """True for heads where every task has its own, false for what tasks share, by name."""
        return {
            name: torch.full_like(weight, not self.policy.is_shared(name), dtype=torch.bool)
            for name, weight in self.policy.named_parameters()
        }

    def scale(self, share: Share | None, guard: Mapping[str, Tensor] | None) -> Scale:
        """Which weights a task reads as they are, and what multiplies the others.

        Args:
            share: of the task, where it has ended before: it keeps what it had.
            guard: true where a weight may move in this task; None: everywhere.
        """
        mask = self.mask
        if isinstance(mask, Keeps) and share is not None and not imitates(mask):
            # what nobody keeps is 0, so its policy goes on as it ended; later tasks' stay out
            free = guard or {}
            return {k: own | free[k] if k in free else own for k, own in share.scale.items()}, 0.0
        if not isinstance(mask, Scales):
            return {}, 0.0
        if share is not None:
            return share.scale, share.rest
        fixed = {name: ~free for name, free in (guard or {}).items()}
        with component_errors("mask", mask):
            scale, rest = mask.scale(fixed)
        wrong = wrong_tensors(scale, dict(self.policy.named_parameters()), torch.bool, every=False)
        self._refuse("scale", "bool tensors", wrong)
        return scale, float(rest)

    def _refuse(self, method: str, what: str, wrong: str | None) -> None:
        """Raises where the mask's method has not returned tensors by parameter's name."""
        expected = f"{what} of the weights' names and shapes"
        refuse_returned("mask", self.mask, method, expected, wrong)
