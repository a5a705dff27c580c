"""Trains TorchRL's TD3 on masked layers: two tasks one after the other, the first not forgotten.

Each task has a mask of its own over the neurons of one network.  Weights that the first task uses
get no step while the second trains, so the first task's actions stay the same, bit for bit.

python examples/train_td3_on_masked_layers.py
"""

from __future__ import annotations

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch.optim import Adam
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.objectives import SoftUpdate, TD3Loss

from cotasp.modules import (
    CodeTable,
    Critics,
    LayerMasks,
    MetaPolicy,
    Ownership,
    Step,
    critic_modules,
)
from cotasp.tasks.point import PointEnv

GOALS = [(0.6, 0.0), (-0.6, 0.0)]  # not observed: the task's number alone tells them apart
ENVS, BATCH, HORIZON = 8, 64, 30
WARMUP, HELD = 60, 3  # steps of random actions, each held for some
NOISE = 0.3
FLATTEN = 0.2  # weight of loc^2 in the actor's loss: tanh has no gradient left in its corners


def make_actor(policy: MetaPolicy, codes: CodeTable) -> TensorDictSequential:
    """The deterministic actor: observation and task to action."""
    masks = LayerMasks(Step(), policy.hidden)  # a neuron is used where its code is positive
    return TensorDictSequential(
        TensorDictModule(codes, in_keys=["task"], out_keys=["code"]),
        TensorDictModule(masks, in_keys=["code"], out_keys=["mask"]),
        TensorDictModule(policy, in_keys=["observation", "mask"], out_keys=["loc", "scale"]),
        TensorDictModule(torch.tanh, in_keys=["loc"], out_keys=["action"]),
    )


def train(task: int, actor, policy: MetaPolicy, owned: Ownership, steps: int) -> None:
    """TD3 on one task, with critics, optimisers and a buffer of its own.

    Args:
        steps: of the environments, all at once; after the warm-up, as many updates.
    """
    critics = critic_modules(Critics(4, 2, hidden=(64, 64)))
    loss = TD3Loss(actor, critics, num_qvalue_nets=2, bounds=(-1.0, 1.0))
    loss.make_value_estimator(gamma=0.9)
    targets = SoftUpdate(loss, tau=0.05)
    # new optimisers: moments kept from the last task would move weights without any gradient
    actor_adam = Adam(policy.parameters(), lr=5e-3)
    critic_adam = Adam(loss.qvalue_network_params.flatten_keys().values(), lr=5e-3)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(50_000), batch_size=BATCH)
    guard = owned.guard(policy, by="tasks")  # true where no finished task uses the weight

    env = PointEnv(GOALS[task], HORIZON, num_envs=ENVS, seed=task)
    number = torch.full((ENVS,), task)
    data = env.reset()
    held = torch.zeros(ENVS, 2)
    for step in range(steps):
        with torch.no_grad():
            actor(data.set("task", number))
        if step < WARMUP:
            held = torch.rand(ENVS, 2) * 2 - 1 if step % HELD == 0 else held
            data["action"] = held
        else:
            data["action"] = (data["action"] + NOISE * torch.randn(ENVS, 2)).clamp(-1, 1)
        data, following = env.step_and_maybe_reset(data)
        data["next", "task"] = number
        buffer.extend(data.select("observation", "task", "action", "next"))
        data = following
        if step < WARMUP:
            continue

        batch = buffer.sample()
        value_loss, _ = loss.value_loss(batch)
        critic_adam.zero_grad()
        value_loss.backward()
        critic_adam.step()
        if step % 2 == 0:  # the policy learns at half the critics' pace
            actor_loss, _ = loss.actor_loss(batch)
            loc = actor(batch.select("observation", "task"))["loc"]
            actor_adam.zero_grad()
            (actor_loss + FLATTEN * loc.square().mean()).backward()
            for name, weight in policy.named_parameters():
                if weight.grad is not None:  # the standard deviation has none: TD3 reads the mean
                    weight.grad *= guard[name]
            actor_adam.step()
            targets.step()


@torch.no_grad()
def success(task: int, actor) -> float:
    """Fraction of 100 episodes that end at the goal."""
    number = torch.full((100,), task)
    env = PointEnv(GOALS[task], HORIZON, num_envs=100, seed=1000)
    data = env.reset()
    for _ in range(HORIZON):
        data = env.step(actor(data.set("task", number)))["next"]
    return float(data["success"].float().mean())


def main(steps: int = 600) -> tuple[list[float], bool]:
    """Prints, and returns, each task's success in the end and whether the first acts as before."""
    torch.manual_seed(0)
    policy = MetaPolicy(in_features=4, action_dim=2, hidden=(128, 128))
    codes = CodeTable(torch.randn(len(GOALS), sum(policy.hidden)) - 0.5)  # a third is positive
    codes.requires_grad_(False)  # masks stay as they were drawn
    actor = make_actor(policy, codes)
    owned = Ownership(len(GOALS), sum(policy.hidden))
    probe = PointEnv(GOALS[0], num_envs=100).reset().set("task", torch.zeros(100).long())

    train(0, actor, policy, owned, steps)
    owned.claim(0, (codes.codes[0] > 0).float())
    with torch.no_grad():
        before = actor(probe.clone())["action"]
    print(f"first task after its training: success {success(0, actor):.2f}")

    train(1, actor, policy, owned, steps)
    with torch.no_grad():
        after = actor(probe.clone())["action"]
    found, same = [success(task, actor) for task in range(len(GOALS))], torch.equal(before, after)
    print(f"second task after its training: success {found[1]:.2f}")
    print(f"first task now: success {found[0]:.2f}, actions as before, bit for bit: {same}")
    return found, same


if __name__ == "__main__":
    main()
