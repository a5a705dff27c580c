"""The masked policy inside TorchRL's own losses, with a mask of its own for every row."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.objectives import ClipPPOLoss, SACLoss, SoftUpdate, TD3Loss

from cotasp.modules.codes import CodeTable, LayerMasks
from cotasp.modules.critics import Critics
from cotasp.modules.masks import Step
from cotasp.modules.policy import MaskedMLP, MetaPolicy
from cotasp.modules.tensordict import actor_module, critic_modules

HIDDEN, OBS, ACT, BATCH = (16, 12), 5, 2, 32
CODES = torch.randn(3, sum(HIDDEN), generator=torch.Generator().manual_seed(0)) - 0.7
UNUSED = ~(CODES > 0).any(0)[: HIDDEN[0]]  # neurons of layer 1 that no task uses


def batch() -> TensorDict:
    task = torch.arange(BATCH) % 3
    done = torch.zeros(BATCH, 1, dtype=torch.bool)
    return TensorDict(
        {
            "observation": torch.randn(BATCH, OBS),
            "task": task,
            "action": torch.rand(BATCH, ACT) * 1.8 - 0.9,
            "next": {
                "observation": torch.randn(BATCH, OBS),
                "task": task,
                "reward": torch.randn(BATCH, 1),
                "done": done,
                "terminated": done,
            },
        },
        batch_size=[BATCH],
    )


def actor() -> tuple[MetaPolicy, CodeTable, nn.Module]:
    policy = MetaPolicy(OBS, ACT, HIDDEN, head_scale=1.0)
    codes = CodeTable(CODES)
    return policy, codes, actor_module(policy, codes, LayerMasks(Step("identity"), HIDDEN))


def gradient(loss: nn.Module, name: str) -> torch.Tensor:
    parameter = dict(loss.named_parameters())[name]
    assert parameter.grad is not None, name
    return parameter.grad


def body_weight(loss: nn.Module) -> str:
    """The first layer's weight under the name that the loss gives it."""
    names = [n for n, _ in loss.named_parameters() if n.startswith("actor")]
    return next(n for n in names if n.replace("_", ".").endswith("layers.0.weight"))


def check_only_used_neurons_learn(loss: nn.Module) -> None:
    grad = gradient(loss, body_weight(loss))
    assert UNUSED.any()
    assert (grad[UNUSED] == 0).all()
    assert (grad[~UNUSED].abs().sum(-1) > 0).all()


def test_sac():
    _, _, module = actor()
    loss = SACLoss(module, critic_modules(Critics(OBS, ACT, (8, 8))), num_qvalue_nets=2,
                   target_entropy=-1.0)  # fmt: skip
    loss.make_value_estimator(gamma=0.9)
    SoftUpdate(loss, tau=0.01)
    out = loss(batch())
    (out["loss_actor"] + out["loss_qvalue"] + out["loss_alpha"]).backward()
    check_only_used_neurons_learn(loss)
    codes = next(n for n, _ in loss.named_parameters() if n.endswith("codes"))
    assert (gradient(loss, codes).abs().sum(-1) > 0).all()  # every task's prompt learns


def test_td3():
    policy, codes, _ = actor()
    masks = LayerMasks(Step(), HIDDEN)
    module = TensorDictSequential(
        TensorDictModule(codes, in_keys=["task"], out_keys=["code"]),
        TensorDictModule(masks, in_keys=["code"], out_keys=["mask"]),
        TensorDictModule(policy, in_keys=["observation", "mask"], out_keys=["loc", "scale"]),
        TensorDictModule(torch.tanh, in_keys=["loc"], out_keys=["action"]),
    )
    loss = TD3Loss(module, critic_modules(Critics(OBS, ACT, (8, 8))), num_qvalue_nets=2,
                   bounds=(-1.0, 1.0))  # fmt: skip
    loss.make_value_estimator(gamma=0.9)
    SoftUpdate(loss, tau=0.01)
    out = loss(batch())
    (out["loss_actor"] + out["loss_qvalue"]).backward()
    check_only_used_neurons_learn(loss)


@pytest.mark.parametrize("shared_mask", [False, True])
def test_ppo(shared_mask):
    _, _, module = actor()
    value = MaskedMLP(OBS, HIDDEN)
    critic = TensorDictSequential(
        TensorDictModule(value, in_keys=["observation", "mask"], out_keys=["features"]),
        TensorDictModule(nn.Linear(HIDDEN[-1], 1), ["features"], ["state_value"]),
    )
    data = batch()
    if shared_mask:
        data["task"] = data["next", "task"] = torch.zeros(BATCH, dtype=torch.long)
    with torch.no_grad():
        module(data)
        data["next", "mask"] = data["mask"]
    loss = ClipPPOLoss(module, critic)
    loss.make_value_estimator(gamma=0.9, lmbda=0.9)
    loss.value_estimator(
        data, params=loss.critic_network_params, target_params=loss.target_critic_network_params
    )
    out = loss(data)
    (out["loss_objective"] + out["loss_critic"] + out["loss_entropy"]).backward()
    grad = gradient(loss, body_weight(loss))
    off = ~(CODES[0] > 0)[: HIDDEN[0]] if shared_mask else UNUSED
    assert (grad[off] == 0).all()
    assert (grad[~off].abs().sum(-1) > 0).all()
