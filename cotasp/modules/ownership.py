"""What finished tasks use of the network, and which weights must therefore stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from cotasp.errors import RunError
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.subnetwork import extract, membership


class Ownership(nn.Module):
    """The shares of the network that finished tasks ended with.

    A share is a mask of units, and, where a task does not use every weight between its units, a
    multiplier for those weights (PackNet, arXiv 1711.05769).

    owned_l = max over finished tasks of phi_l (CoTASP, arXiv 2305.18444, Eq. 4).

    Args:
        n_tasks: tasks of the stream.
        n_units: hidden units of the policy, sum over layers.
    """

    masks: Tensor
    finished: Tensor

    def __init__(self, n_tasks: int, n_units: int) -> None:
        super().__init__()
        self.register_buffer("masks", torch.zeros(n_tasks, n_units, dtype=torch.bool))
        self.register_buffer("finished", torch.zeros(n_tasks, dtype=torch.bool))
        self.scales: dict[int, dict[str, Tensor]] = {}  # of tasks, by parameter; missing: all 1

    @property
    def owned(self) -> Tensor:
        """[n_units], bool: units that any finished task uses."""
        return self.masks[self.finished].any(0)

    def claim(self, task: int, mask: Tensor, scale: Mapping[str, Tensor] | None = None) -> None:
        """Records the binary mask [n_units] with which a task ended, and what it multiplies weights
        by: bool tensors by parameter's name, None where that is 1 for all.

        Raises:
            RunError: the task has ended before.
        """
        if self.finished[task]:
            raise RunError(f"task {task} has claimed its neurons already; a task ends once")
        self.masks[task] = mask > 0
        self.finished[task] = True
        if scale:
            self.scales[task] = dict(scale)

    def cut(self, policy: MetaPolicy, task: int) -> MetaPolicy:
        """A finished task's network, cut out of the meta-policy; see `extract`."""
        return extract(policy, self.masks[task].float(), self.scales.get(task))

    def alike(self, tasks: Tensor) -> list[Tensor]:
        """The places of rows whose tasks have equal shares, together; [n] to a list of [*].

        Args:
            tasks: number of a finished task for each row, [n], int64.
        """
        firsts: list[int] = []
        first = torch.zeros(len(self.finished), dtype=torch.int64)
        for task in tasks.unique().tolist():
            same = (
                t
                for t in firsts
                if not (t in self.scales or task in self.scales)
                and torch.equal(self.masks[t], self.masks[task])
            )
            first[task] = next(same, task)
            firsts += [task] * (int(first[task]) == task)
        of_rows = first.to(tasks.device)[tasks]
        return [(of_rows == task).nonzero().squeeze(-1) for task in firsts]

    def used(self, policy: MetaPolicy) -> dict[str, Tensor]:
        """The weights that some finished task's policy reads, bool by parameter's name."""
        used = {k: torch.zeros_like(p, dtype=torch.bool) for k, p in policy.named_parameters()}
        for task in self.finished.nonzero().flatten().tolist():
            scale = self.scales.get(task, {})
            for name, inside in membership(policy, self.masks[task]).items():
                used[name] |= inside & scale[name] if name in scale else inside
        return used

    def guard(
        self,
        policy: MetaPolicy,
        by: Literal["owners", "tasks"] = "owners",
        log_std: bool = True,
    ) -> dict[str, Tensor]:
        """The weights that may still change.

        A weight is frozen iff both its ends are owned (Eq. 4), or, by tasks, iff some one finished
        task uses it; in the first layer iff its output is, in the heads iff their input is.  The
        bias of the log-std head has no input and is shared by all tasks: it is frozen once a task
        has finished.

        Args:
            policy: whose weights.
            by: which rule.
            log_std: whether the log-std head is guarded.  False reproduces a leak of the
                reference code, through which old tasks' stochastic policies drift.

        Returns:
            parameter name to bool tensor, true where the weight may change.
        """
        any_finished = self.finished.any()
        if by == "owners":
            frozen = membership(policy, self.owned)
            guard = {name: ~(both & any_finished) for name, both in frozen.items()}
        else:
            guard = {name: ~used for name, used in self.used(policy).items()}
        if not log_std:
            guard |= {k: torch.ones_like(v) for k, v in guard.items() if k.startswith("log_std")}
        return guard
