"""What critics cost: their loss with its gradients and the actor's, by family.

    python benchmarks/critics.py [--quick] [--json FILE]      (two minutes)

`critic_loss` and `actor_loss` on a random batch, observations of 39 numbers, actions of 4, one
thread: the policy gives its mean and scale by one product, so that what is timed is the critics.
`mlp` has its gradients written out; `mlp, autograd` is the same module by the way that any other
takes, `mlp, plain torch` the same function as a user writes it, in layers of `torch.nn.functional`.
The ways take turns, and each figure is the median of CPU times per pair of losses.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from _machine import machine
from torch import Tensor, nn

from cotasp.agents.losses import actor_loss, critic_loss
from cotasp.methods.batch import Batch
from cotasp.modules.critics import Critics
from cotasp.modules.ensembles import Autograd, Ensemble, bind
from cotasp.modules.specs import CategoricalCritic, MLPCritic, ResidualCritic

OBS, ACT = 39, 4
DEPTHS, BATCHES = (2, 4), (128, 256)
ROUNDS, EACH = 30, 10  # timings of a way, pairs of losses in each
QUICK_ROUNDS = 8


class Plain(nn.Module):
    """The function of `MLPCritic(norm="all")`, for autograd alone."""

    def __init__(self, critics: Critics) -> None:
        super().__init__()
        self.critics = critics

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        it = self.critics
        x = torch.cat([observation, action], -1).expand(it.n, -1, -1)
        layers = zip(it.weights, it.biases, it.norm_weights, it.norm_biases)
        for weight, bias, scale, shift in layers:
            z = torch.baddbmm(bias, x, weight)
            x = F.relu(torch.addcmul(shift, F.layer_norm(z, z.shape[-1:]), scale))
        return torch.baddbmm(it.biases[-1], x, it.weights[-1]).squeeze(-1)


def ways(depth: int) -> dict[str, Callable[[], Ensemble]]:
    """What makes an ensemble of each kind, of `depth` hidden layers of 256 (residual: one more)."""
    hidden = (256,) * depth
    sizes = OBS, ACT
    return {
        "mlp": lambda: bind(MLPCritic(hidden).build(*sizes)),
        "mlp, autograd": lambda: Autograd(MLPCritic(hidden).build(*sizes)),
        "mlp, plain torch": lambda: Autograd(Plain(MLPCritic(hidden).build(*sizes))),
        "mlp, norm first": lambda: bind(MLPCritic(hidden, norm="first").build(*sizes)),
        "mlp, norm none": lambda: bind(MLPCritic(hidden, norm="none").build(*sizes)),
        "residual": lambda: bind(ResidualCritic(256, blocks=depth // 2).build(*sizes)),
        "categorical": lambda: bind(CategoricalCritic(hidden).build(*sizes)),
    }


def pair_of_losses(make: Callable[[], Ensemble], rows: int) -> Callable[[], None]:
    """One critic_loss and one actor_loss, the actor's gradient included."""
    critics, targets = make(), make()
    weight = (0.1 * torch.randn(2 * ACT, OBS)).requires_grad_()

    def policy(observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = F.linear(observation, weight).chunk(2, -1)
        return loc, scale.exp()

    batch = Batch(
        torch.randn(rows, OBS),
        torch.rand(rows, ACT) * 2 - 1,
        torch.randn(rows),
        torch.randn(rows, OBS),
        torch.full((rows,), 0.99),
    )
    noise, alpha = torch.randn(2, rows, ACT), torch.tensor(0.1)

    def work() -> None:
        critic_loss(critics, targets, policy, batch, alpha, noise[0], "min")
        _, surrogate, _ = actor_loss(critics, policy, batch.observation, alpha, noise[1], "min")
        torch.autograd.grad(surrogate, [weight])

    return work


def measure(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time of each, the median of rounds in turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            started = time.process_time()
            for _ in range(EACH):
                work()
            times[name].append((time.process_time() - started) / EACH * 1e3)
    return {name: median(values) for name, values in times.items()}


def main() -> None:
    """Prints and optionally writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, < 1 minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out: dict[str, object] = {"machine": machine(), "ms": []}
    columns = {}
    for depth in DEPTHS:
        for rows in BATCHES:
            works = {name: pair_of_losses(make, rows) for name, make in ways(depth).items()}
            ms = measure(works, QUICK_ROUNDS if options.quick else ROUNDS)
            columns[f"256x{depth}, {rows}"] = ms
            out["ms"] += [
                {"hidden": [256] * depth, "batch": rows, "critic": name, "ms": value}
                for name, value in ms.items()
            ]
    print(f"\n{'ms':18}" + "".join(f"{name:>14}" for name in columns))
    for name in next(iter(columns.values())):
        print(f"{name:18}" + "".join(f"{ms[name]:14.2f}" for ms in columns.values()))
    ratios = (ms["mlp, autograd"] / ms["mlp"] for ms in columns.values())
    print(f"{'autograd / mlp':18}" + "".join(f"{ratio:14.2f}" for ratio in ratios))
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
