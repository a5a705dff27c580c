"""Which neurons belong to finished tasks, and which weights must therefore stay."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cotasp.errors import RunError
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.subnetwork import membership


class Ownership(nn.Module):
    """The masks that finished tasks ended with.

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

    @property
    def owned(self) -> Tensor:
        """[n_units], bool: units that any finished task uses."""
        return self.masks[self.finished].any(0)

    def claim(self, task: int, mask: Tensor) -> None:
        """Records the binary mask [n_units] with which a task ended.

        Raises:
            RunError: the task has ended before.
        """
        if self.finished[task]:
            raise RunError(f"task {task} has claimed its neurons already; a task ends once")
        self.masks[task] = mask > 0
        self.finished[task] = True

    def guard(self, policy: MetaPolicy, log_std: bool = True) -> dict[str, Tensor]:
        """The weights that may still change: 1 - min(owned_{l-1}, owned_l), Eq. 4.

        A weight is frozen iff both its ends are owned; in the first layer iff its output is, in
        the heads iff their input is.  The bias of the log-std head has no input and is shared
        by all tasks: it is frozen once a task has finished.

        Args:
            policy: whose weights.
            log_std: whether the log-std head is guarded.  False reproduces a leak of the
                reference code, through which old tasks' stochastic policies drift.

        Returns:
            parameter name to bool tensor, true where the weight may change.
        """
        any_finished = self.finished.any()
        frozen = membership(policy, self.owned)
        guard = {name: ~(both & any_finished) for name, both in frozen.items()}
        if not log_std:
            guard |= {k: torch.ones_like(v) for k, v in guard.items() if k.startswith("log_std")}
        return guard
