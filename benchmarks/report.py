"""Time, memory and size of a report over many runs.

python benchmarks/report.py --json results/report.json

200 made-up runs (40 variants, 5 seeds) of 10 tasks with 50 evaluations each; the report is made by
the command line in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.report.synthetic import make_runs

RULES = ("online", "anchored", "frozen", "lazy")


def measure(variants: int, seeds: int, tasks: int, evaluations: int) -> dict[str, float | int]:
    """Makes runs and a report of them."""
    with tempfile.TemporaryDirectory() as folder:
        named = {
            f"v{i:03d}": (
                (f"dictionary.update={RULES[i % 4]}", f"dictionary.lmbda={0.01 * (1 + i // 4)}"),
                0.4 + 0.5 * i / variants,
            )
            for i in range(variants)
        }
        make_runs(Path(folder) / "runs", named, range(seeds), tasks=tasks, per_task=evaluations)
        out = Path(folder) / "report"
        command = [sys.executable, "-m", "cotasp", "report", f"{folder}/runs", "--out", str(out)]
        started = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        seconds = time.perf_counter() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "runs": variants * seeds,
            "tasks": tasks,
            "evaluations_per_task": evaluations,
            "seconds": round(seconds, 2),
            "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_memory_bytes": usage.ru_maxrss * 1024,
            "html_bytes": (out / "index.html").stat().st_size,
        }


def main() -> None:
    """Measures, prints, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variants", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=50, help="of each task's training")
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    found = measure(arguments.variants, arguments.seeds, arguments.tasks, arguments.evaluations)
    print(
        f"{found['runs']} runs: {found['seconds']:.1f} s ({found['processor_seconds']:.1f} s of "
        f"processor time), "
        f"{found['peak_memory_bytes'] / 2**20:.0f} MiB, page {found['html_bytes'] / 1e6:.2f} MB"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({**machine(), **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
