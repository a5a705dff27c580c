"""How busy a sweep keeps the cores, and whether a Ray cluster gives the same results.

python benchmarks/sweep.py --ray --json results/sweep.json

12 trials on the point toy with as many workers as there are cores.  `busy` is the processor time of
all trials over cores times wall time; `machine_busy` is the share of all processors that was not
idle meanwhile, which is more where others work on the machine, too.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from _machine import machine

from cotasp.sweep import Local, Plan, Ray, run_sweep
from cotasp.sweep.launchers import cores
from cotasp.sweep.plan import axis_of

ROOT = Path(__file__).parents[1]


def _ticks() -> tuple[int, int]:
    """Ticks of all processors: idle, all."""
    with open("/proc/stat", encoding="utf-8") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _summaries(out: Path) -> dict[str, dict]:
    return {
        str(path.parent.relative_to(out)): json.loads(path.read_text(encoding="utf-8"))
        for path in out.rglob("summary.json")
    }


def measure(steps: int, ray: bool) -> dict[str, float | int | bool]:
    """Runs the sweep once with processes and, if asked to, once with Ray."""
    plan = Plan(
        recipe=ROOT / "recipes/smoke.yaml",
        axes=dict([axis_of("dictionary.update=online,anchored,frozen")]),
        seeds=range(4),
        overrides=[f"steps_per_task={steps}"],
    )
    with tempfile.TemporaryDirectory() as folder:
        out, started, used, ticks = Path(folder), time.perf_counter(), _used(), _ticks()
        outcomes = run_sweep(plan, out / "local", Local())
        wall, idle = time.perf_counter() - started, [b - a for a, b in zip(ticks, _ticks())]
        found: dict[str, float | int | bool] = {
            "trials": sum(outcome.state == "done" for outcome in outcomes.values()),
            "seconds": round(wall, 1),
            "busy": round((_used() - used) / (cores() * wall), 3),
            "machine_busy": round(1 - idle[0] / idle[1], 3),
        }
        if ray:
            run_sweep(plan, out / "ray", Ray())
            found["ray_identical"] = _summaries(out / "local") == _summaries(out / "ray")
    return found


def main() -> None:
    """Measures, prints, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000, help="of each of three tasks")
    parser.add_argument("--ray", action="store_true", help="the same sweep through Ray")
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    facts, found = machine("ray"), measure(arguments.steps, arguments.ray)
    print("  ".join(f"{key} {value}" for key, value in found.items()))
    if arguments.json:
        text = json.dumps({**facts, **found}, indent=2)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
