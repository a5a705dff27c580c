"""The links of the line from task to action as TensorDict modules.

    task -> code -> mask -> loc, scale -> action

Each can be used alone in another TorchRL agent; together they are the actor that TorchRL's
losses and collectors take.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torchrl.modules import TanhNormal

from cotasp.errors import calling, refuse_returned
from cotasp.modules.critics import Critics
from cotasp.modules.masks import MaskPolicy
from cotasp.modules.policy import MetaPolicy


class CodeTable(nn.Module):
    """One code per task, trainable.

    Args:
        codes: [n_tasks, sum(hidden)], the initial codes, copied.
    """

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.codes = nn.Parameter(codes.clone())

    def forward(self, task: Tensor) -> Tensor:
        """Codes [*, sum(hidden)] of integer task numbers [*], or [*, 1] of two axes or more."""
        return self.codes[task.squeeze(-1) if task.ndim > 1 and task.shape[-1] == 1 else task]


class LayerMasks(nn.Module):
    """A mask policy applied layer by layer to concatenated codes.

    Args:
        policy: see `cotasp.modules.masks`.
        hidden: widths K_l; codes and masks have sum(hidden) entries.
    """

    def __init__(self, policy: MaskPolicy, hidden: Sequence[int]) -> None:
        super().__init__()
        self.policy = policy
        self.hidden = tuple(hidden)

    def forward(self, code: Tensor, progress: float = 1.0) -> Tensor:
        """Masks [*, sum(hidden)] of codes [*, sum(hidden)]."""
        layers = code.split(self.hidden, dim=-1)
        with calling("mask", self.policy):
            masks = torch.cat([self.policy(layer, progress) for layer in layers], dim=-1)
        wrong = None if masks.shape == code.shape else f"shapes that add up to {list(masks.shape)}"
        refuse_returned("mask", self.policy, "__call__", "an entry per entry of the code", wrong)
        return masks


def squashed_gaussian_head() -> ProbabilisticTensorDictModule:
    """loc, scale -> action, sample_log_prob: TorchRL's tanh-squashed Gaussian on [-1, 1]."""
    return ProbabilisticTensorDictModule(
        in_keys=["loc", "scale"],
        out_keys=["action"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )


def actor_module(
    policy: MetaPolicy, codes: CodeTable | None = None, masks: LayerMasks | None = None
) -> ProbabilisticTensorDictSequential:
    """The whole actor, for TorchRL's losses and collectors.

    Args:
        policy: the meta-policy.
        codes: if given, the actor reads the integer key `task`, one per row; else `mask`.
        masks: what turns codes into masks; needed with `codes`.

    Returns:
        a module from `observation` and `task` (or `mask`) to `action`.
    """
    line: list[nn.Module] = []
    if codes is not None:
        if masks is None:
            raise ValueError("masks: expected a LayerMasks beside a CodeTable, got None")
        line += [
            TensorDictModule(codes, in_keys=["task"], out_keys=["code"]),
            TensorDictModule(masks, in_keys=["code"], out_keys=["mask"]),
        ]
    line.append(
        TensorDictModule(policy, in_keys=["observation", "mask"], out_keys=["loc", "scale"])
    )
    return ProbabilisticTensorDictSequential(*line, squashed_gaussian_head())


def critic_modules(critics: Critics) -> list[TensorDictModule]:
    """Copies of the ensemble's members as the list that TorchRL's losses take."""

    class Value(nn.Module):
        def __init__(self, member: Critics) -> None:
            super().__init__()
            self.member = member

        def forward(self, observation: Tensor, action: Tensor) -> Tensor:
            return self.member(observation, action).squeeze(0).unsqueeze(-1)

    return [
        TensorDictModule(
            Value(critics.member(i)),
            in_keys=["observation", "action"],
            out_keys=["state_action_value"],
        )
        for i in range(critics.n)
    ]
