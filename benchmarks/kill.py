"""Kills runs at random moments, resumes them, and compares every bit with an undisturbed run.

    python benchmarks/kill.py [--kills 50] [--stream point | metaworld] [--steps N] [--seed 0]
                              [--json FILE]

A run of three tasks is killed (SIGKILL) at a random moment, resumed, perhaps killed again, until it
ends.  Then its last checkpoint's content, summary, evaluations and curves must be those of a run
that nobody disturbed.  Ends with the number of kills, and with exit code 1 if anything differed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")
# what a killed process leaves to be cleaned up is meant to be left
os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")

import torch
from _machine import machine

from cotasp.continual.loop import resume, run
from cotasp.recipe import Recipe, loads
from cotasp.storage.checkpoints import Checkpoints

SMALL = """
frames_per_batch: 10
dictionary: {lmbda: 0.05}
actor: {hidden: [48, 40], std: exp, log_std_range: [-5, 2]}
agent: {critic: {hidden: [32, 32]}, batch_size: 32, distillation_updates: 20, theta_updates: 30,
        code_updates: 5}
"""
STREAMS = {
    "point": """
stream: {name: point, goals: [right, left, top], horizon: 23}
steps_per_task: 400
checkpoint_every: 60
evaluation: {every: 100, episodes: 3, average: 2}
""",
    "metaworld": """
stream: {name: metaworld, tasks: [drawer-close-v3, push-v3, hammer-v3], horizon: 150}
steps_per_task: 600
checkpoint_every: 100
evaluation: {every: 300, episodes: 2, average: 1}
""",
}
PER_RUN = {"point": 6, "metaworld": 2}  # kills at most
AGENT = ["agent.warmup_steps=100", "agent.buffer_size=300"]


def contents(path: Path) -> dict[str, str | bytes]:
    """All of a finished run that must be equal: everything but timing."""
    names = ["summary.json", "evaluations.json", "metrics.csv", "episodes.csv"]
    found: dict[str, str | bytes] = {name: (path / name).read_bytes() for name in names}
    saved = Checkpoints(path).newest()
    assert saved is not None
    return found | {"checkpoint": saved.content_hash()}


def start(recipe: Recipe, path: Path) -> int:
    """A process that begins the run or goes on with it; forked, for imports take seconds."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        if path.exists():
            resume(path, progress=False)
        else:
            run(recipe, path, progress=False)
    except BaseException as error:
        print(f"{path}: {error!r}", flush=True)
        os._exit(1)
    os._exit(0)


def until_it_ends(recipe: Recipe, path: Path, seconds: float, kills: int) -> int:
    """Kills and resumes, at most so many times; returns how often a kill hit a living process."""
    hit = 0
    while True:
        process = start(recipe, path)
        if hit < kills:
            time.sleep(random.uniform(0, seconds / 2))
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status):
            hit += 1
        elif os.WEXITSTATUS(status) == 0:
            return hit
        else:
            raise SystemExit(f"{path}: a process failed")


def main() -> int:
    """Prints what was compared; returns the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--stream", choices=STREAMS, default="point")
    arguments.add_argument("--steps", type=int, help="of a task; default: the stream's own")
    arguments.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments.add_argument("--json", metavar="FILE")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    facts = machine()
    random.seed(options.seed)
    length = [f"steps_per_task={options.steps}"] if options.steps else []
    recipe = loads(SMALL + STREAMS[options.stream], [*AGENT, *length])
    folder = Path(tempfile.mkdtemp(prefix="cotasp-kill-"))
    began = time.time()
    until_it_ends(recipe, folder / "undisturbed", 0, kills=0)
    seconds = time.time() - began
    expected = contents(folder / "undisturbed")
    kills = runs = different = 0
    while kills < options.kills:
        path = folder / f"killed-{runs}"
        kills += until_it_ends(
            recipe, path, seconds, kills=min(PER_RUN[options.stream], options.kills - kills)
        )
        runs += 1
        found = contents(path)
        names = [k for k in {**expected, **found} if expected.get(k) != found.get(k)]
        different += bool(names)
        for name in names:
            print(f"{path}: {name} differs")
        if not names:
            shutil.rmtree(path)
    print(
        f"{options.stream}: {kills} kills over {runs} runs of {seconds:.1f} s; {runs - different} "
        f"of {runs} ended bit for bit as the undisturbed run ({len(expected)} files compared)"
    )
    if options.json:
        row = {"stream": options.stream, "kills": kills, "runs": runs, "different": different}
        Path(options.json).write_text(json.dumps({"machine": facts, **row}, indent=2) + "\n")
    if not different:
        shutil.rmtree(folder)
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
