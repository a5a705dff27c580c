"""What finished tasks use of the network, and which weights must therefore stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cotasp.checks import check
from cotasp.errors import RecipeError
from cotasp.modules.policy import MaskedMLP, MetaPolicy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import extract, head_rows, masked_part, membership, used_weights
from cotasp.ranges import Count

Rule = Literal["owners", "tasks"]


class Ownership:
    """The shares of the network that finished tasks ended with.

    owned_l = max over finished tasks of phi_l (CoTASP, arXiv 2305.18444, Eq. 4).

    Args:
        n_tasks: tasks of the stream.
        n_units: hidden units of the policy, sum over layers.
        device: of the tensors.

    Raises:
        RecipeError: a number that is none, or below 1.
    """

    def __init__(self, n_tasks: int, n_units: int, device: torch.device | str = "cpu") -> None:
        check(Count, n_tasks, "Ownership.n_tasks")
        check(Count, n_units, "Ownership.n_units")
        self.n_tasks = n_tasks
        self.n_units = n_units
        self.device = torch.device(device)
        self.shares: dict[int, Share] = {}  # of finished tasks, by number

    @property
    def finished(self) -> Tensor:
        """[n_tasks], bool."""
        finished = torch.zeros(self.n_tasks, dtype=torch.bool, device=self.device)
        finished[list(self.shares)] = True
        return finished

    @property
    def masks(self) -> Tensor:
        """[n_tasks, n_units], bool: units of finished tasks; none of others."""
        shape = self.n_tasks, self.n_units
        masks = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for task, share in self.shares.items():
            masks[task] = share.units
        return masks

    @property
    def owned(self) -> Tensor:
        """[n_units], bool: units that any finished task uses."""
        return self.masks.any(0)

    def claim(self, task: int, share: Share | Tensor, replace: bool = False) -> None:
        """Records what a task ended with.

        Args:
            task: its number.
            share: its share, or just a mask [n_units], 1 for its units and 0 for the others.
            replace: whether the task came back, and this share takes the place of the one that it
                had; what that one alone used may change from now on.

        Raises:
            RecipeError: no such task, a mask of another length or that is not binary, or another
                share of a task that has one.
        """
        check(int, task, "Ownership.claim: task")
        if not 0 <= task < self.n_tasks:
            raise RecipeError(
                f"Ownership.claim: task: expected 0 to {self.n_tasks - 1}, a number among "
                f"n_tasks={self.n_tasks}, got {task}"
            )
        if isinstance(share, Tensor):
            units = share > 0
            if not bool((share[units] == 1).all()):
                raise RecipeError(
                    "Ownership.claim: expected a mask of zeros and ones, for a finished task's is "
                    "binary, got values between; pass `mask > 0`, and act by that"
                )
        elif isinstance(share, Share):
            units = share.units
        else:
            raise RecipeError(
                f"Ownership.claim: expected a Share or a mask [{self.n_units}], got {share!r:.80}"
            )
        if units.shape != (self.n_units,):
            raise RecipeError(
                f"Ownership.claim: expected a mask of all n_units={self.n_units} hidden units, got "
                f"shape {list(units.shape)}"
            )
        claimed = Share(units) if isinstance(share, Tensor) else share
        held = self.shares.get(task)
        if not (held is None or replace or held is claimed or held.equals(claimed)):
            raise RecipeError(
                f"Ownership.claim: task {task} has another share already, which finished tasks "
                f"keep; pass replace=True if it came back and was trained on"
            )
        self.shares[task] = claimed

    def without(self, task: int) -> Ownership:
        """The shares of all other tasks."""
        others = Ownership(self.n_tasks, self.n_units, self.device)
        others.shares = {number: s for number, s in self.shares.items() if number != task}
        return others

    def cut(self, policy: MetaPolicy, task: int) -> MetaPolicy:
        """A finished task's network, cut out of the meta-policy; see `extract`.

        Raises:
            RecipeError: the task has not ended.
        """
        if task not in self.shares:
            raise RecipeError(
                f"Ownership.cut: expected the number of a task that was claimed, "
                f"{', '.join(map(str, self.shares)) or 'none yet'}, got {task!r:.80}"
            )
        return extract(policy, self.shares[task])

    def alike(self, tasks: Tensor) -> list[Tensor]:
        """The places of rows whose tasks have equal shares, together; [n] to a list of [*].

        Args:
            tasks: number of a finished task for each row, [n], int64.
        """
        firsts: list[int] = []
        first = torch.zeros(self.n_tasks, dtype=torch.int64)
        for task in tasks.unique().tolist():
            share = self.shares[task]
            first[task] = next((t for t in firsts if self.shares[t].equals(share)), task)
            firsts += [task] * (int(first[task]) == task)
        of_rows = first.to(tasks.device)[tasks]
        return [(of_rows == task).nonzero().squeeze(-1) for task in firsts]

    def used(self, policy: MetaPolicy | MaskedMLP) -> dict[str, Tensor]:
        """The weights that some finished task's policy reads, bool by parameter's name."""
        used = {k: torch.zeros_like(p, dtype=torch.bool) for k, p in policy.named_parameters()}
        for share in self.shares.values():
            for name, mine in used_weights(policy, share).items():
                used[name] |= mine
        return used

    def guard(
        self,
        module: nn.Module,
        by: Rule = "owners",
        log_std: bool = True,
        heads: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """The weights that may still change.

        A weight is frozen iff both its ends are owned (Eq. 4), or, by tasks, iff some one finished
        task uses it; inputs count as owned, and so do the rows of a head from the first task on
        that ends with it.  A task with weights of its own (`Share.own`) freezes nothing.

        Of a module of one's own, what lies outside its masked layers is read by every task, as far
        as anybody can tell, and frozen from the first claim on, but for the columns, in `heads`,
        of units that no finished task uses.  A layer that one task alone reads is the caller's to
        free.

        Args:
            module: whose weights: a `MetaPolicy`, a `MaskedMLP`, or a module that contains one.
            by: which rule.
            log_std: whether a meta-policy's log-std head is guarded.  False reproduces a leak of
                the reference code, through which old tasks' stochastic policies drift.
            heads: names, within the module, of `nn.Linear` layers that read what a `MaskedMLP`
                gives, as it is; a meta-policy's own are known.

        Returns:
            parameter name to bool tensor, true where the weight may change.

        Raises:
            RecipeError: another rule, or a module with no masked layers, with several, with others
                than were claimed, or with no such heads.
        """
        check(Rule, by, "Ownership.guard: by")
        prefix, policy = masked_part(module)
        if sum(policy.hidden) != self.n_units:
            raise RecipeError(
                f"Ownership.guard: expected masked layers of n_units={self.n_units} in all, got "
                f"{sum(policy.hidden)}, {list(policy.hidden)}"
            )
        frozen = self._between_owned(policy) if by == "owners" else self.used(policy)
        guard = {f"{prefix}{name}": ~fixed for name, fixed in frozen.items()}
        for name, weight in module.named_parameters():
            if name not in guard:
                guard[name] = torch.full_like(weight, not self.shares, dtype=torch.bool)
            elif not log_std and name.startswith(f"{prefix}log_std"):
                guard[name] = torch.ones_like(guard[name])
        unowned = ~self.owned.split(policy.hidden)[-1]
        check(tuple[str, ...], heads, "Ownership.guard: heads")
        for head in heads:
            layer = dict(module.named_modules()).get(head)
            if not isinstance(layer, nn.Linear) or layer.in_features != policy.hidden[-1]:
                raise RecipeError(
                    f"Ownership.guard: heads: expected names of nn.Linear layers that read "
                    f"{policy.hidden[-1]} units, got {head!r}, {type(layer).__name__}"
                )
            guard[f"{head}.weight"] |= unowned.to(layer.weight.device)
        return guard

    def _between_owned(self, policy: MetaPolicy | MaskedMLP) -> dict[str, Tensor]:
        units = torch.zeros(self.n_units, dtype=torch.bool, device=self.device)
        rows = torch.zeros_like(head_rows(policy, 0))
        for share in self.shares.values():
            if not share.own:
                units |= share.units
                rows |= head_rows(policy, share.head)
        return membership(policy, units, rows)

    def state_dict(self) -> dict[str, Any]:
        """The shares by number of their task."""
        return {
            str(task): {
                "units": share.units,
                "head": share.head,
                "scale": dict(share.scale),
                "own": dict(share.own),
            }
            | ({"rest": share.rest} if share.rest else {})
            for task, share in self.shares.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: t.to(self.device, copy=True) for name, t in tensors.items()}

        self.shares = {
            int(task): Share(
                share["units"].to(self.device, copy=True),
                int(share["head"]),
                moved(share["scale"]),
                moved(share["own"]),
                float(share.get("rest", 0.0)),
            )
            for task, share in state.items()
        }
