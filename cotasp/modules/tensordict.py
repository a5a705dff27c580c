"""The links of the line from task to action as TensorDict modules.

    task -> code -> mask -> loc, scale -> action

Each can be used alone in another TorchRL agent; together they are the actor that TorchRL's
losses and collectors take.
"""

from __future__ import annotations

from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torchrl.modules import TanhNormal

from cotasp.modules.codes import CodeTable, LayerMasks
from cotasp.modules.critics import Critics
from cotasp.modules.policy import MetaPolicy


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
