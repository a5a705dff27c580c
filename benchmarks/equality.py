"""Float32 weights of the compact and of the dense run of one seed, and what rounding alone does.

    python benchmarks/equality.py [--quick] [--json FILE]

The paper's sizes (see `updates.py`).  Printed is the largest difference over all weights of actor
and critics, as a share of the weight's norm, after so many updates: between compact and dense, and
between two compact runs of which one began with one weight of the critics off by its last bit.
Where these are alike, it is rounding and not the way of computing that tells the runs apart.
Two learning rates: the paper's, and one at which rounding grows slowly.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from updates import learner  # first: it sets the thread counts

import torch  # isort: skip
from _machine import machine

from cotasp.agents.off_policy import OffPolicyLearner

RATES = (3e-4, 3e-6)


def weights(made: OffPolicyLearner) -> Iterator[torch.Tensor]:
    """All that Adam trains, but code and temperature."""
    made.actor.sub.write_back()
    yield from made.actor.meta_policy.parameters()
    yield from made.values.network.parameters()


def apart(one: OffPolicyLearner, other: OffPolicyLearner) -> float:
    """Largest difference of a weight, relative to its norm."""
    with torch.no_grad():
        shares = [(a - b).norm() / b.norm() for a, b in zip(weights(one), weights(other))]
        return float(torch.stack(shares).max())


def nudged(made: OffPolicyLearner) -> OffPolicyLearner:
    """The learner with one weight off by its last bit."""
    with torch.no_grad():
        weight = made.values.network.weights[1].view(-1)[:1]
        weight.copy_(torch.nextafter(weight, weight + 1))
    return made


def compare(one: OffPolicyLearner, other: OffPolicyLearner, points: tuple[int, ...]) -> list[float]:
    """How far two learners are apart after so many updates on the same draws."""
    found = []
    for point in points:
        for made in (one, other):
            torch.manual_seed(point)
            made.update(point - made.updates)
        found.append(apart(one, other))
    return found


def main() -> None:
    """Prints and optionally writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer updates, < 1 minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    points = (1, 10, 50) if options.quick else (1, 10, 50, 200)
    rows = []
    print(f"{'rate':>8}{'':20}" + "".join(f"{n:>10}" for n in points) + "  updates")
    for rate in RATES:
        for name in ("compact, dense", "compact, last bit"):
            other = learner("dense", rate=rate) if "dense" in name else nudged(learner(rate=rate))
            found = compare(learner(rate=rate), other, points)
            print(f"{rate:8.0e}  {name:18}" + "".join(f"{x:10.1e}" for x in found), flush=True)
            rows.append({"rate": rate, "runs": name, "apart": dict(zip(points, found))})
    if options.json:
        text = json.dumps({"machine": machine(), "rows": rows}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
