"""Updates and actions per second: dense against compact, float32 against bfloat16, and TorchRL.

    python benchmarks/updates.py [--quick] [--json FILE]

The paper's sizes: observations of 39 numbers, actions of 4, actor 4 x 1024, twin critics 4 x 256,
batch 256, one thread.  Buffers hold random transitions; an update samples a batch and steps
critics, actor, temperature and targets, fifty in a row as after a collected batch.  Times are CPU
times, the best of several rounds that take turns, so that other load on the machine counts little.

first table    every way to compute the update, at lambda 1e-3, also compiled (not with `--quick`),
               and TorchRL's SACLoss with plain networks of the same size, updated as TorchRL's
               examples do
second table   how the compact update follows the neurons: lambda 1e-1 to 1e-3
third table    widths 256 to 4096 with the same number of active neurons (mask: topk)
fourth table   several seeds in one process, their updates stacked (`--launcher stacked`)
"""

from __future__ import annotations

# ruff: noqa: E402 - the thread counts must be set before the libraries load
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _machine import machine
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs.utils import ExplorationType, set_exploration_type
from torchrl.modules import MLP, NormalParamExtractor, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import SACLoss, SoftUpdate

from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.agents.sac import SAC
from cotasp.agents.stacked import StackedUpdates
from cotasp.agents.updates import Updater
from cotasp.continual.lockstep import in_lockstep
from cotasp.methods.freeze import Freeze
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.modules.masks import Step, TopK
from cotasp.modules.specs import ActorSpec, MLPCritic
from cotasp.prompting.encoders import SBERT
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.tasks.texts import CW10, TEXTS

OBS, ACT, BATCH = 39, 4, 256
EFFORT = {"rounds": 3, "seconds": 2.0}  # of one figure
QUICK = {"rounds": 1, "seconds": 0.4}
STRETCH = 50  # updates from one collected batch to the next, as recipes have it


def transitions(n: int) -> TensorDict:
    """Random transitions as a collector gives them."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    done = {"terminated": torch.zeros(n, 1, dtype=torch.bool)}
    following = {"observation": normal(n, OBS), "reward": normal(n, 1), "done": done["terminated"]}
    following = TensorDict(following | done, [n])
    action = normal(n, ACT).tanh()
    return TensorDict({"observation": normal(n, OBS), "action": action, "next": following}, [n])


def learner(
    execution: str = "compact",
    precision: str = "float32",
    lmbda: float = 1e-3,
    width: int = 1024,
    top: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    compiled: bool = False,
    rate: float = 3e-4,
) -> OffPolicyLearner:
    """A learner at the beginning of its first task, its buffer filled."""
    torch.manual_seed(seed)
    texts = [TEXTS[CW10[0]]]
    method = Method(
        encoder=SBERT().prepare(texts),
        dictionary=SparseCoding(lmbda=lmbda),
        mask=Step() if top is None else TopK(top),
        protections=(Freeze(),),
        actor=ActorSpec(hidden=(width,) * 4),
    )
    settings = SAC(
        critic=MLPCritic((256,) * 4, "leaky_relu", norm="first"),  # the reference code's
        execution=execution,
        precision=precision,
        compile=compiled,
        learning_rate=rate,
        batch_size=BATCH,
        warmup_steps=0,
        updates_per_transition=0,
        actor_average=0.0,
    )
    problem = Problem(texts, OBS, ACT, steps_per_task=1_000_000, seed=seed, device=device)
    made = OffPolicyLearner(settings, problem, method)
    made.start_task(0)
    made.learn(transitions(10_000).to(device))
    return made


def update_of(made: OffPolicyLearner) -> Callable[[], object]:
    """A stretch of updates of a learner, sampling included."""
    return lambda: made.update(STRETCH)


def stacked(seeds: int, precision: str) -> Callable[[], object]:
    """A batch of updates of several seeds, computed together."""
    made = [learner("compact", precision, seed=seed) for seed in range(seeds)]

    def work(one: OffPolicyLearner, meet: Updater) -> None:
        one.updater = meet
        one.update(STRETCH)

    return lambda: in_lockstep([partial(work, one) for one in made], StackedUpdates())


def torchrl_update() -> Callable[[], object]:
    """The same update by TorchRL alone, with plain networks."""
    torch.manual_seed(0)
    net = nn.Sequential(MLP(OBS, 2 * ACT, num_cells=[1024] * 4), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    critics = [
        ValueOperator(MLP(OBS + ACT, 1, num_cells=[256] * 4), in_keys=["observation", "action"])
        for _ in range(2)
    ]
    loss = SACLoss(actor, critics, target_entropy=-ACT / 2, loss_function="l2")
    loss.make_value_estimator(gamma=0.99)
    targets = SoftUpdate(loss, tau=0.005)
    optimiser = torch.optim.Adam(loss.parameters(), lr=3e-4, fused=True)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=BATCH)
    buffer.extend(transitions(10_000))

    def update() -> None:
        for _ in range(STRETCH):
            values = loss(buffer.sample())
            sum(values[name] for name in ("loss_actor", "loss_qvalue", "loss_alpha")).backward()
            optimiser.step()
            optimiser.zero_grad()
            targets.step()

    return update


def measure(
    ways: dict[str, Callable[[], object]], seconds: float, rounds: int, each: int = STRETCH
) -> dict[str, float]:
    """What is done per second of CPU time, `each` per call: the best of rounds in turns."""
    best = dict.fromkeys(ways, 0.0)
    for work in ways.values():
        work()
    for _ in range(rounds):
        for name, work in ways.items():
            count, started = 0, time.process_time()
            while (spent := time.process_time() - started) < seconds:
                work()
                count += each
            best[name] = max(best[name], count / spent)
    return best


def acting(made: OffPolicyLearner) -> Callable[[], object]:
    """One action for one observation, as the collector asks for it."""
    observation = torch.randn(OBS)
    module, goes_on = made.behaviour().module, torch.zeros(1, dtype=torch.bool)

    def act() -> None:
        with set_exploration_type(ExplorationType.RANDOM):
            module(observation, goes_on)

    return act


def neurons(made: OffPolicyLearner) -> float:
    """Mean number of active neurons per layer."""
    return float(made.actor.final_mask().sum()) / len(made.actor.meta_policy.hidden)


def main() -> None:
    """Prints and optionally writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, < 1 minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates = partial(measure, **(QUICK if options.quick else EFFORT))
    out: dict[str, object] = {"machine": machine()}

    made = {
        f"{e} {p}": learner(e, p) for e in ("dense", "compact") for p in ("float32", "bfloat16")
    }
    if not options.quick:
        for e, p in (("dense", "float32"), ("compact", "float32"), ("compact", "bfloat16")):
            made[f"{e} {p} compiled"] = learner(e, p, compiled=True)
    updates = rates(
        {name: update_of(m) for name, m in made.items()} | {"TorchRL SACLoss": torchrl_update()}
    )
    actions = rates({name: acting(m) for name, m in made.items()}, each=1)
    print(f"\n{neurons(made['dense float32']):.0f} of 1024 neurons per layer")
    print(f"{'':26}{'updates/s':>10}{'x dense':>9}{'actions/s':>11}")
    for name, rate in updates.items():
        ratio = rate / updates["dense float32"]
        acts = f"{actions[name]:11,.0f}" if name in actions else ""
        print(f"{name:26}{rate:10.1f}{ratio:9.2f}{acts}")
    out |= {"updates_per_s": updates, "actions_per_s": actions}

    out["lambda"], out["width"] = [], []
    print(f"\n{'lambda':>8}{'neurons':>9}{'updates/s':>11}   (compact float32)")
    for lmbda in (1e-2,) if options.quick else (1e-1, 3e-2, 1e-2, 1e-3):
        one = learner(lmbda=lmbda)
        rate = rates({"": update_of(one)})[""]
        print(f"{lmbda:8g}{neurons(one):9.0f}{rate:11.1f}")
        out["lambda"].append({"lmbda": lmbda, "neurons": neurons(one), "updates_per_s": rate})
    print(f"\n{'width':>8}{'neurons':>9}{'updates/s':>11}   (compact float32)")
    widths = (1024, 4096) if options.quick else (256, 512, 1024, 2048, 4096)
    same = {width: learner(width=width, top=190) for width in widths}
    found = rates({str(width): update_of(one) for width, one in same.items()})
    for width, one in same.items():
        rate = found[str(width)]
        print(f"{width:8d}{neurons(one):9.0f}{rate:11.1f}")
        out["width"].append({"width": width, "neurons": neurons(one), "updates_per_s": rate})
    out["stacked"] = []
    print(f"\n{'seeds':>8}{'updates/s of all':>18}   (compact bfloat16, stacked)")
    for seeds in (1, 2) if options.quick else (1, 2, 4, 8):
        rate = rates({"": stacked(seeds, "bfloat16")}, each=STRETCH * seeds)[""]
        print(f"{seeds:8d}{rate:18.1f}")
        out["stacked"].append({"seeds": seeds, "updates_per_s": rate})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak resident memory of this process: {peak:,.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
