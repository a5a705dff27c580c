"""How long commands take before they do what they were asked for, in processor seconds.

    python benchmarks/start.py --json results/start.json
    python benchmarks/start.py --tree ../before --tree .   # two versions, in turn

A smoke run is made once.  Every command then runs in processes of its own, with one thread, the
versions taking turns; the least of all repeats counts, the children's time included.  `run` ends
at its first collected batch: until then it imports, builds environments and networks, and evaluates
ten episodes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import machine

TO_FIRST_BATCH = """
import sys
from cotasp.continual.state import RunState

RunState.note_episodes = lambda self, data: sys.exit(0)
from cotasp.__main__ import main

sys.exit(main(sys.argv[1:]) or 1)  # it ended without a batch
"""
COMMAND = "import sys; from cotasp.__main__ import main; sys.exit(main(sys.argv[1:]))"
REFUSED = "import sys; from cotasp.__main__ import main; sys.exit(main(sys.argv[1:]) != 2)"
IN_THE_RUN = "Park the car on the right."


def commands(run: Path, out: Path) -> dict[str, list[str]]:
    """By name, what a process of Python is given."""
    return {
        "--help": ["-c", COMMAND, "--help"],
        "refusal": ["-c", REFUSED, "run", "smoke", "agent.warmup_steps=1500"],
        "show": ["-c", COMMAND, "show", "smoke"],
        "prompt": ["-c", COMMAND, "prompt", str(run), IN_THE_RUN],
        "report": ["-c", COMMAND, "report", str(run), "--out", str(out / "report")],
        "evaluate": ["-c", COMMAND, "evaluate", str(run), "--task", "right"],
        "play": ["-c", COMMAND, "play", str(run), "--task", "right", "--out", str(out / "a.gif")],
        "run smoke": ["-c", TO_FIRST_BATCH, "run", "smoke", "--quiet", "--out"],
        "run quickstart": ["-c", TO_FIRST_BATCH, "run", "quickstart", "--quiet", "--out"],
    }


def seconds(arguments: list[str], tree: Path) -> tuple[float, float]:
    """Processor and wall seconds of a process."""
    env = os.environ | {"PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    process = subprocess.Popen(  # there, as `python -c` looks for packages where it stands first
        [sys.executable, *arguments], cwd=tree, env=env, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(arguments[2:])}: ended with status {status}")
    return used.ru_utime + used.ru_stime, wall


def measure(trees: list[Path], repeats: int) -> dict[str, dict[str, list[float]]]:
    """By command and version, the least processor and wall seconds."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        seconds(["-c", COMMAND, "run", "smoke", "--quiet", "--out", str(out / "run")], trees[-1])
        for name, arguments in commands(out / "run", out).items():
            times: dict[str, list[tuple[float, float]]] = {str(tree): [] for tree in trees}
            for i in range(repeats + 1):  # the first fills the caches
                for tree in trees:
                    ends = arguments[-1] == "--out"
                    place = [str(out / f"{name}-{tree.name}-{i}")] if ends else []
                    times[str(tree)].append(seconds([*arguments, *place], tree))
            found[name] = {
                tree: [round(min(column), 2) for column in zip(*pairs[1:])]
                for tree, pairs in times.items()
            }
            print(name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, action="append", help="a checkout; default this one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write it here")
    arguments = parser.parse_args()
    trees = arguments.tree or [Path(__file__).parents[1]]
    found = measure(trees, arguments.repeats)
    if arguments.json:
        values = {"machine": machine(), "cpu_and_wall_seconds": found}
        arguments.json.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
