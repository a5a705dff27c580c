"""Whether a sweep on a Ray cluster survives a stop and the loss of a node, on disks of their own.

python benchmarks/ray_nodes.py --json results/ray_nodes.json

As root on Linux: `scripts/ray_cluster.sh` makes three nodes that share no disk.  A sweep of three
trials is driven from the first; once a checkpoint of each has arrived it is stopped, the same
command goes on, and a node is killed.  At the end every summary must be that of processes on this
machine.  About four minutes on two cores; the cluster is taken down also after a failure.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from _machine import commit, machine

ROOT = Path(__file__).parents[1]
CLUSTER = str(ROOT / "scripts/ray_cluster.sh")
OUT = "/var/tmp/cotasp-ray-node/sweep"  # on the first node's own disk
TRIALS = 3
PATIENCE = 300.0  # s

RECIPE = """
stream: {name: point, goals: [left, right], horizon: 10}
steps_per_task: 2000
frames_per_batch: 10
checkpoint_every: 100
encoder: random
dictionary: {lmbda: 0.01}
actor: {hidden: [64]}
agent: {critic: {hidden: [16]}, batch_size: 16, warmup_steps: 20, distillation_updates: 0}
evaluation: {every: 500, episodes: 2, average: 1}
"""


def sweep_command(recipe: Path, out: str, *more: str) -> list[str]:
    """The sweep's command."""
    command = [sys.executable, "-m", "cotasp", "sweep", str(recipe), "--seeds", str(TRIALS)]
    return [*command, "--out", out, "--quiet", *more]


def on_head(*command: str) -> bytes:
    """What a command prints on the first node."""
    return subprocess.run([CLUSTER, "exec", "1", *command], check=True, capture_output=True).stdout


def results() -> dict[str, bytes]:
    """All files of the sweep that are on the first node, by path."""
    with tarfile.open(fileobj=io.BytesIO(on_head("tar", "c", "-C", OUT, "."))) as tar:
        return {m.name[2:]: tar.extractfile(m).read() for m in tar if m.isfile()}


def checkpoints(files: dict[str, bytes]) -> dict[str, str]:
    """The last checkpoint of each trial that has one."""
    names = [name.split("/") for name in files if name.endswith("/manifest.json")]
    return {parts[1]: parts[3] for parts in sorted(names)}


def wait_for(happened, sweep: subprocess.Popen, what: str) -> float:
    """Waits for something while the sweep runs; the seconds that it took."""
    started = time.monotonic()
    while not happened():
        if sweep.poll() is not None or time.monotonic() > started + PATIENCE:
            raise SystemExit(f"the sweep ended, or took too long, before {what}: {sweep.poll()}")
        time.sleep(0.5)
    return time.monotonic() - started


def node_of(trial: str, files: dict[str, bytes]) -> str:
    """The host name of the node on which a trial last was."""
    lines = files[f"all/{trial}.log"].decode().splitlines()
    return [line.split()[3] for line in lines if line.startswith("$ on node")][-1]


def summaries(files: dict[str, bytes]) -> dict[str, dict]:
    """What every trial found."""
    return {n: json.loads(c) for n, c in files.items() if n.endswith("summary.json")}


def measure(recipe: Path, folder: Path) -> dict[str, object]:
    """Runs the sweep with processes, then on the cluster, with a stop and the loss of a node."""
    found: dict[str, object] = {}
    started = time.monotonic()
    local = sweep_command(recipe, str(folder / "local"))
    subprocess.run(local, check=True, stdout=subprocess.DEVNULL)
    found["local_seconds"] = round(time.monotonic() - started, 1)
    paths = (folder / "local").rglob("*.json")
    expected = summaries({str(p.relative_to(folder / "local")): p.read_bytes() for p in paths})

    sweep_words = sweep_command(recipe, OUT, "--launcher", "ray", "--address", "auto")
    command = [CLUSTER, "exec", "1", "PYTHONUNBUFFERED=1", *sweep_words]
    started = time.monotonic()
    sweep = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    on_head("mkdir", "-p", OUT)
    wait_for(lambda: len(checkpoints(results())) == TRIALS, sweep, "checkpoints had arrived")
    found["first_checkpoints_seconds"] = round(time.monotonic() - started, 1)

    started = time.monotonic()
    sweep.send_signal(signal.SIGTERM)
    _, error = sweep.communicate(timeout=PATIENCE)
    found["stop_seconds"] = round(time.monotonic() - started, 1)
    assert sweep.returncode == 128 + signal.SIGTERM, error.decode()
    files = results()
    stopped = checkpoints(files)
    logs = [content.decode() for name, content in files.items() if name.endswith(".log")]
    found["stopped_where_they_go_on"] = sum("stopped by SIGTERM" in log for log in logs)

    started = time.monotonic()
    said = folder / "said.txt"
    sweep = subprocess.Popen(command, stdout=open(said, "wb"), stderr=subprocess.STDOUT)  # noqa: SIM115

    def one_has_gone_on() -> list[str]:
        files = results()
        reached = checkpoints(files)
        return [
            trial
            for trial in reached
            if reached[trial] != stopped[trial] and node_of(trial, files) != "node1"
        ]

    wait_for(one_has_gone_on, sweep, "a trial went on elsewhere than on the first node")
    lost = one_has_gone_on()[0]
    files = results()
    node = node_of(lost, files).removeprefix("node")
    found["killed"] = f"node {node}, whose last checkpoint here was {checkpoints(files)[lost]}"
    subprocess.run([CLUSTER, "kill", node], check=True)

    seconds = wait_for(lambda: b"tried again" in said.read_bytes(), sweep, "the loss was noticed")
    found["loss_noticed_seconds"] = round(seconds, 1)
    sweep.wait(PATIENCE)
    found["rest_seconds"] = round(time.monotonic() - started, 1)
    assert sweep.returncode == 0, said.read_text()
    files = results()
    found["said"] = said.read_text().splitlines()[-1].split(";")[0]
    found["resumed"] = sum(c.count(b" -m cotasp resume ") for c in files.values())
    found["identical"] = summaries(files) == expected and len(expected) == TRIALS
    return found


def main() -> int:
    """Measures, prints, and writes JSON if asked to; 0 if every summary is the same."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    facts = {"commit": commit(), **machine("ray")}
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(RECIPE, encoding="utf-8")
        os.environ.setdefault("PYTHON", sys.executable)
        started = time.monotonic()
        try:
            subprocess.run([CLUSTER, "up"], check=True)
            up = round(time.monotonic() - started, 1)
            found = {"up_seconds": up, **measure(recipe, Path(folder))}
        finally:
            subprocess.run([CLUSTER, "down"], check=False)
    print("\n".join(f"{key}: {value}" for key, value in found.items()))
    if arguments.json:
        text = json.dumps({**facts, **found}, indent=2)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    return 0 if found["identical"] else 1


if __name__ == "__main__":
    sys.exit(main())
