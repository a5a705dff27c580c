"""Sweeps through Ray: a killed worker, a stop, and what is said where a cluster does not fit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from cotasp.errors import RecipeError
from cotasp.recipe import load
from cotasp.storage.rundir import METRICS
from cotasp.sweep import ray_pool
from cotasp.sweep.launchers import Local, Ray
from cotasp.sweep.plan import Plan
from cotasp.sweep.ray_pool import _explained, _is_loss
from cotasp.sweep.running import make_job, run_sweep
from tests.sweep.test_running import ENDLESS, TINY, ends, summaries

ray = pytest.importorskip("ray", reason="ray is not installed")
SEED = re.compile(r"^seed: (\d+)$", re.MULTILINE)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(f"{TINY}\ncheckpoint_every: 50\n")
    return path


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Path:
    """Where nodes keep their trials; Ray's own sockets need a shorter path."""
    path = tmp_path / "node"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    return path


def kill_a_worker(disk: Path, out: Path, killed: list[int]) -> None:
    """Kills an actor whose trial runs below `disk`, once a checkpoint of this trial has arrived."""
    while not killed:
        time.sleep(0.05)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                argv = (folder / "cmdline").read_bytes().decode().split("\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                recipes = [a for a in argv if a.startswith(str(disk)) and a.endswith(".yaml")]
                seeds = [SEED.search(Path(a).read_text())[1] for a in recipes]
            except (OSError, ValueError):  # it has ended
                continue
            if any(list(out.glob(f"all/seed{seed}/checkpoints/task_*")) for seed in seeds):
                os.kill(parent, signal.SIGKILL)
                killed.append(parent)
                return


def test_ray_gives_the_same_results_though_a_worker_is_killed(recipe, disk, tmp_path, monkeypatch):
    """A cluster of two nodes, both on this machine."""
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(ray_pool, "_NEWS_EVERY", 0.1)  # s: its first checkpoint arrives at once
    longer = ["steps_per_task=600"]  # than its first checkpoint takes to arrive
    plan = Plan(recipe=recipe, seeds=(0, 1), overrides=longer)
    killed, out = [], tmp_path / "ray"
    run_sweep(plan, tmp_path / "local", Local(workers=2), progress=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    threading.Thread(target=kill_a_worker, args=(disk, out, killed), daemon=True).start()
    try:
        launcher = Ray(address=cluster.address)
        outcomes = run_sweep(plan, out, launcher, progress=False)
        missing = make_job(tmp_path, "missing", load(recipe))
        Path(missing.recipe).write_text("device: cpu")
        Path(missing.log).mkdir()
        assert ends(launcher.open(), missing) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert killed
    assert {o.state for o in outcomes.values()} == {"done"}, outcomes
    assert summaries(out) == summaries(tmp_path / "local")
    logs = "".join(path.read_text() for path in out.rglob("*.log"))
    assert logs.count("$ on node ") == 3
    assert logs.count(" -m cotasp resume ") == 1
    assert not list(disk.glob("cotasp-trial-*/run")), "trials are left on the node"


def size(files: Iterable[Path]) -> int:
    """Bytes of all those that there are."""
    return sum(path.stat().st_size for path in files if path.exists())


def test_a_sweep_on_ray_is_stopped_where_it_can_go_on(recipe, disk, tmp_path):
    """SIGINT goes to the process group, as Ctrl-C does, and SIGTERM to the sweep alone."""
    command = [sys.executable, "-m", "cotasp", "sweep", str(recipe), f"steps_per_task={ENDLESS}"]
    command += [f"checkpoint_every={ENDLESS}", "--launcher", "ray", "--workers", "1", "--quiet"]
    job = make_job(tmp_path / "out", "all/seed0", load(recipe))
    for number, send in ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)):
        sweep = subprocess.Popen(
            [*command, "--out", str(tmp_path / "out")],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while size(disk.glob(f"cotasp-trial-*/run/{METRICS}")) <= size([Path(job.out) / METRICS]):
            time.sleep(0.05)
            assert sweep.poll() is None
        send(sweep.pid, number)
        err = sweep.communicate(timeout=100)[1].decode()
        assert sweep.returncode == 128 + number, err
        assert f"stopped by {number.name}, 0 of 1 trials have ended; the same command" in err
        last = Path(job.log).read_text().splitlines()[-1]
        assert last.startswith("cotasp: stopped by SIGTERM in task"), last
        assert not list(disk.glob("cotasp-trial-*"))
        assert list(Path(job.out).glob("checkpoints/task_*"))
    assert Path(job.log).read_text().count(" -m cotasp resume ") == 1


def test_a_node_without_the_package_is_told_from_a_lost_one():
    failed = ray.exceptions.RayActorError(
        error_msg="in __init__\nModuleNotFoundError: No module named 'cotasp'\n",
        actor_init_failed=True,
    )
    assert not _is_loss(ray, failed)
    last = str(_explained(failed)).splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: No module named 'cotasp'; every node needs cotasp")
    assert _is_loss(ray, ray.exceptions.ActorDiedError())
    assert _is_loss(ray, ray.exceptions.ActorUnavailableError("no answer", None))


def test_a_cluster_that_is_not_there_is_told():
    with pytest.raises(RecipeError, match=r"launcher ray: 127\.0\.0\.1:1: cannot be reached"):
        Ray(address="127.0.0.1:1").open()
