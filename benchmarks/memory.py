"""Resident memory of training, which must not grow.

    python benchmarks/memory.py [--precision NAME] [--quick] [--json FILE]

Updates of the paper's size (see `updates.py`), weights and codes in alternation, the sub-network
cut anew at every change of phase, in either precision, each in a process of its own.  Printed is
the resident set at update 5,000 and from there to 50,000 (a tenth of that with `--quick`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from pathlib import Path

from updates import learner  # first: it sets the thread counts

import torch  # isort: skip
from _machine import machine

POINTS = 10


def resident() -> float:
    """MB of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def train(precision: str, updates: int) -> list[tuple[int, float]]:
    """Resident memory at even distances from a tenth of the updates to all of them."""
    torch.set_num_threads(1)
    made, points = learner("compact", precision), []
    for number in range(1, updates + 1):
        made.update(1)
        if number % (updates // POINTS) == 0:
            points.append((number, resident()))
            print(f"{precision:>9}{number:>8,} updates {points[-1][1]:8.1f} MB", flush=True)
    return points


def main() -> None:
    """Prints and optionally writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the updates")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    both = ("float32", "bfloat16")
    parser.add_argument("--precision", choices=both, action="append", help="default: both")
    options = parser.parse_args()
    out: dict[str, object] = {"machine": machine()}
    updates = 5_000 if options.quick else 50_000
    for precision in options.precision or both:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            points = pool.apply(train, (precision, updates))
        growth = max(mb for _, mb in points) - points[0][1]
        print(f"{precision:>9} grew by at most {growth:.1f} MB after update {points[0][0]:,}")
        out[precision] = {"resident_mb": points, "growth_mb": growth}
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
