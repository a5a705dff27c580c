"""What checkpoints cost at paper size: seconds to save and to resume, bytes, share of a run.

    python benchmarks/checkpoint.py [--quick] [--json FILE]

A learner of the paper's widths (actor 4x1024, critics 2x(4x256), four dictionaries of 1024 atoms)
on Meta-World's sizes, its buffer filled in steps of 20,000 transitions with a checkpoint after
each, as a run does it; then the last checkpoint is loaded into a new learner.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")

import torch
from _machine import machine
from tensordict import TensorDict

from cotasp import loads
from cotasp.agents.agent import Learner
from cotasp.continual.setup import make_learner
from cotasp.storage.checkpoints import Checkpoints, checkpoint_name
from cotasp.storage.snapshot import pack

EVERY = 20_000  # steps between checkpoints, and the recipe's default
PAPER = """
stream: {name: metaworld, tasks: [hammer-v3, push-v3]}
agent:
  critic: {hidden: [256, 256, 256, 256], activation: leaky_relu, norm: first}
  batch_size: 256
  warmup_steps: 0
"""


def learner() -> Learner:
    """A learner at the beginning of its first task, which makes no updates of its own."""
    torch.manual_seed(0)
    recipe = loads(PAPER, ["agent.updates_per_transition=0"])
    made = make_learner(recipe, recipe.stream.make_tasks())
    made.start_task(0)
    return made


def transitions(n: int) -> TensorDict:
    """Random transitions of Meta-World's sizes, as a collector gives them."""
    following = {
        "observation": torch.randn(n, 39),
        "reward": torch.randn(n, 1),
        "terminated": torch.zeros(n, 1, dtype=torch.bool),
        "done": torch.zeros(n, 1, dtype=torch.bool),
    }
    data = {"observation": torch.randn(n, 39), "action": torch.rand(n, 4) * 2 - 1}
    return TensorDict({**data, "next": TensorDict(following, [n])}, [n])


def update_seconds(made: Any, updates: int) -> float:
    """Seconds per update, the moments of every optimiser coming into being on the way."""
    made.learn(transitions(1000))
    began = time.perf_counter()
    for _ in range(updates):
        made.update(1)
    return (time.perf_counter() - began) / updates


def tensor_bytes(state: dict[str, Any]) -> int:
    """Bytes of all tensors in a state, rows of tables included."""
    _, tensors, tables = pack(state)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    for table in tables.values():
        row = table.read(table.start, table.start + 1)
        per_row = sum(column.numel() * column.element_size() for column in row.values())
        total += (table.stop - table.start) * per_row
    return total


def measure(transitions_held: int, updates: int, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    made = learner()
    per_update = update_seconds(made, updates)
    checkpoints, seconds = Checkpoints(folder), []
    for held in range(EVERY, transitions_held + 1, EVERY):
        for _ in range(EVERY // 1000):
            made.learn(transitions(1000))
        began = time.perf_counter()
        state = {"learner": made.state_dict()}
        checkpoints.save(checkpoint_name(0, held), state, {"metrics": {}, "wall_seconds": 0})
        seconds.append(time.perf_counter() - began)
    newest = checkpoints.paths()[-1]
    used = [*newest.iterdir(), *(folder / "checkpoints" / "rows").rglob("*.safetensors")]
    size, tensors = sum(file.stat().st_size for file in used), tensor_bytes(made.state_dict())
    again = learner()
    began = time.perf_counter()
    saved = Checkpoints(folder).newest()
    assert saved is not None
    again.load_state_dict(saved.state()["learner"])
    resumed = time.perf_counter() - began
    return {
        "transitions": transitions_held,
        "save_seconds_each": [round(s, 3) for s in seconds],
        "save_seconds_worst": round(max(seconds), 3),
        "load_seconds": round(resumed, 3),
        "megabytes": round(size / 1e6, 1),
        "bytes_per_tensor_byte": round(size / tensors, 4),
        "update_seconds": round(per_update, 5),
        "share_of_run": round(max(seconds) / (EVERY * per_update), 5),  # the simulator's time aside
    }


def main() -> None:
    """Prints and optionally writes the table."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--quick", action="store_true", help="20,000 transitions only")
    arguments.add_argument("--transitions", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments.add_argument("--json", metavar="FILE")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    facts = machine("safetensors")
    rows = []
    for held in [EVERY] if options.quick else options.transitions:
        folder = Path(tempfile.mkdtemp(prefix="cotasp-checkpoint-"))
        rows.append(measure(held, 20 if options.quick else 100, folder))
        shutil.rmtree(folder)
        print(json.dumps(rows[-1]), flush=True)
    if options.json:
        found = {"machine": facts, "rows": rows}
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
