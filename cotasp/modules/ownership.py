"""What finished tasks use of the network, and which weights must therefore stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from cotasp.modules.policy import MetaPolicy
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import extract, membership, used_weights


class Ownership:
    """The shares of the network that finished tasks ended with.

    owned_l = max over finished tasks of phi_l (CoTASP, arXiv 2305.18444, Eq. 4).

    Args:
        n_tasks: tasks of the stream.
        n_units: hidden units of the policy, sum over layers.
        device: of the tensors.
    """

    def __init__(self, n_tasks: int, n_units: int, device: torch.device | str = "cpu") -> None:
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

    def claim(self, task: int, share: Share | Tensor) -> None:
        """Records what a task ended with; a task that came back replaces what it had.

        Args:
            task: its number.
            share: its share, or just a mask [n_units], positive for its units.
        """
        self.shares[task] = Share(share > 0) if isinstance(share, Tensor) else share

    def without(self, task: int) -> Ownership:
        """The shares of all other tasks."""
        others = Ownership(self.n_tasks, self.n_units, self.device)
        others.shares = {number: s for number, s in self.shares.items() if number != task}
        return others

    def cut(self, policy: MetaPolicy, task: int) -> MetaPolicy:
        """A finished task's network, cut out of the meta-policy; see `extract`."""
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

    def used(self, policy: MetaPolicy) -> dict[str, Tensor]:
        """The weights that some finished task's policy reads, bool by parameter's name."""
        used = {k: torch.zeros_like(p, dtype=torch.bool) for k, p in policy.named_parameters()}
        for share in self.shares.values():
            for name, mine in used_weights(policy, share).items():
                used[name] |= mine
        return used

    def guard(
        self,
        policy: MetaPolicy,
        by: Literal["owners", "tasks"] = "owners",
        log_std: bool = True,
    ) -> dict[str, Tensor]:
        """The weights that may still change.

        A weight is frozen iff both its ends are owned (Eq. 4), or, by tasks, iff some one finished
        task uses it; inputs count as owned, and so do the rows of a head from the first task on
        that ends with it.  A task with weights of its own (`Share.own`) freezes nothing.

        Args:
            policy: whose weights.
            by: which rule.
            log_std: whether the log-std head is guarded.  False reproduces a leak of the
                reference code, through which old tasks' stochastic policies drift.

        Returns:
            parameter name to bool tensor, true where the weight may change.
        """
        frozen = self._between_owned(policy) if by == "owners" else self.used(policy)
        guard = {name: ~fixed for name, fixed in frozen.items()}
        if not log_std:
            guard |= {k: torch.ones_like(v) for k, v in guard.items() if k.startswith("log_std")}
        return guard

    def _between_owned(self, policy: MetaPolicy) -> dict[str, Tensor]:
        units = torch.zeros(self.n_units, dtype=torch.bool, device=self.device)
        rows = torch.zeros_like(policy.rows(0))
        for share in self.shares.values():
            if not share.own:
                units |= share.units
                rows |= policy.rows(share.head)
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
