"""Runs that travel: what is sent, how it arrives, and a trial that goes from machine to machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from cotasp.continual.loop import resume, run
from cotasp.errors import RecipeError, RunError
from cotasp.recipe import dump
from cotasp.storage import checkpoint
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.readme import README, readme
from cotasp.storage.rundir import RunDirectory
from cotasp.sweep import node, parcels, trial
from cotasp.sweep.launchers import Ray
from cotasp.sweep.parcels import Version, changed, listing, pack, unpack
from cotasp.sweep.ray_pool import Placed, RayPool, reserved
from tests.continual.runs import contents, tiny, training_steps

STEPS = 200


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    run(tiny(), path, progress=False)
    return path


def send(source: Path, target: Path, sent: Mapping[str, Version] | None = None) -> list[str]:
    """Sends what has changed; the names of it."""
    versions = listing(source)
    names = changed(versions, sent or {})
    parcel = target.parent / "parcel.tar"
    pack(source, names, parcel)
    unpack(parcel, target, versions)
    return names


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text)


def a_run(path: Path, *steps: int) -> Path:
    """Something like a run with checkpoints after these steps, each with rows of its own."""
    rows = []
    for step in steps:
        rows.append({"file": f"task_01/{step}.safetensors"})
        saved = path / f"checkpoints/task_01_step_{step:09d}"
        write(saved / "manifest.json", json.dumps({"rows": {"task_01": rows}}))
        write(saved / "tensors.safetensors", f"tensors {step}")
        write(path / f"checkpoints/rows/task_01/{step}.safetensors", f"rows {step}")
    write(path / "recipe.yaml", "seed: 0\n")
    write(path / "metrics.csv", "")
    with open(path / "metrics.csv", "a") as file:
        file.write("0,1\n" * len(steps))
    return path


def tree(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def test_the_manifest_has_the_name_that_checkpoints_give_it():
    assert parcels.MANIFEST == checkpoint.MANIFEST


def test_what_is_half_written_hidden_or_a_link_stays(tmp_path):
    source = a_run(tmp_path / "run", 10)
    whole = tree(source)
    (source / "checkpoints/.task_02.writing").mkdir()
    (source / "checkpoints/.task_02.writing/manifest.json").write_text("{}")
    (source / "checkpoints/task_03").mkdir()
    (source / "checkpoints/rows/task_01/20.safetensors").write_text("half of it")
    (source / ".lock").write_text("1")
    (source / "elsewhere").symlink_to("/etc/hostname")
    send(source, tmp_path / "other")
    assert tree(tmp_path / "other") == whole


def test_a_readme_names_the_directory_that_it_is_in(tmp_path):
    source, target = a_run(tmp_path / "run", 10), tmp_path / "other"
    write(source / README, readme(source))
    send(source, target)
    assert (target / README).read_text() == readme(target) != readme(source)
    write(source / README, readme(source))
    send(source, target)
    assert (target / README).read_text() == readme(target)


def test_rows_arrive_first_and_the_summary_last(tmp_path):
    source = a_run(tmp_path / "run", 10, 20)
    (source / "summary.json").write_text("{}")
    names = list(listing(source))
    assert [name.split("/")[-1] for name in names[:2]] == ["10.safetensors", "20.safetensors"]
    assert names[2:4] == ["metrics.csv", "recipe.yaml"]
    assert all(name.startswith("checkpoints/task_") for name in names[4:-1])
    assert names[-1] == "summary.json"


def test_only_what_is_new_is_sent_and_what_is_gone_is_removed(tmp_path):
    source, target = a_run(tmp_path / "run", 10, 20), tmp_path / "other"
    write(source / "tensorboard/gone", "1,1\n")
    send(source, target)
    before = listing(source)
    (target / "notes.txt").write_text("a user's own")
    a_run(source, 10, 20, 30)
    shutil.rmtree(source / "checkpoints/task_01_step_000000010")
    (source / "tensorboard/gone").unlink()
    assert send(source, target, before) == [
        "checkpoints/rows/task_01/30.safetensors",
        "metrics.csv",
        "checkpoints/task_01_step_000000030/manifest.json",
        "checkpoints/task_01_step_000000030/tensors.safetensors",
    ]
    assert tree(target) == tree(source) | {"notes.txt": "a user's own"}
    assert not (target / "checkpoints/task_01_step_000000010").exists()


def test_rows_written_anew_under_the_same_name_are_sent(tmp_path):
    source = a_run(tmp_path / "run", 10)
    before = listing(source)
    rows = source / "checkpoints/rows/task_01/10.safetensors"
    rows.unlink()
    rows.write_text("rows 11")
    assert rows.relative_to(source).as_posix() in send(source, tmp_path / "other", before)


class Lost(Exception):
    """The machine is gone."""


def stop_after(steps: int, monkeypatch) -> None:
    def then(count, out):
        if count == steps:
            raise Lost

    training_steps(monkeypatch, then)


@pytest.mark.slow
def test_an_arrival_that_breaks_off_anywhere_leaves_a_run_to_go_on_with(
    undisturbed, tmp_path, monkeypatch
):
    """The sender has gone on from 40 steps to 100; every rename of its parcel is the last once."""
    ours, target = tmp_path / "node", tmp_path / "driver"
    with monkeypatch.context() as patch:
        stop_after(45, patch)
        with pytest.raises(RunError, match=r"Lost\(\)"):
            run(tiny(), ours, progress=False)
    send(ours, target)
    with monkeypatch.context() as patch:
        stop_after(60, patch)
        with pytest.raises(RunError, match=r"Lost\(\)"):
            resume(ours, progress=False)
    replace, kept = os.replace, tmp_path / "kept"
    shutil.copytree(target, kept)
    for allowed in range(1000):
        shutil.rmtree(target)
        shutil.copytree(kept, target)
        count = iter(range(allowed))

        def limited(a, b, count=count):
            if next(count, None) is None:
                raise OSError("no power")
            replace(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(parcels.os, "replace", limited)
            try:
                send(ours, target)
                whole = True
            except OSError:
                whole = False
        saved = Checkpoints(target).newest()
        assert saved is not None
        lengths = {n: (target / n).stat().st_size for n in saved.manifest["metrics"]}
        assert all(lengths[n] >= size for n, size in saved.manifest["metrics"].items())
        if whole:
            break
    assert allowed > 10
    resume(target, progress=False)
    assert contents(target) == contents(undisturbed)


class Inline:
    """An actor's handle whose calls are done at once."""

    def __init__(self, actor: node.NodeTrial) -> None:
        self.actor = actor

    def __getattr__(self, name):
        return SimpleNamespace(remote=getattr(self.actor, name))


def a_pool(**ray) -> RayPool:
    """A pool without a cluster."""
    pool = object.__new__(RayPool)
    pool.address, pool.cpus, pool.gpus = None, 1.0, 1.0
    pool.arrival, pool.warned = 0.0, set()
    pool.ray = SimpleNamespace(**ray)
    return pool


def a_job(path: Path, *overrides: str) -> trial.Job:
    path.mkdir(exist_ok=True)
    job = trial.job_at(str(path / "seed0"), "seed0", STEPS)
    Path(job.recipe).write_text(dump(tiny(*overrides)))
    return job


def talk(job: trial.Job, actor: node.NodeTrial, until=lambda: False) -> int | None:
    """Holds a trial's conversation; None where it was broken off."""
    placed = Placed(job, Inline(actor))
    placed.talk = a_pool(put=lambda chunk: chunk)._talk(placed)
    answer = next(placed.talk)
    try:
        while not until():
            answer = placed.talk.send(answer)
    except StopIteration as end:
        return end.value
    placed.talk.close()
    return None


@pytest.fixture
def nodes(tmp_path, monkeypatch) -> Path:
    """Where the folders of trials are."""
    path = tmp_path / "nodes"
    path.mkdir()
    monkeypatch.setattr(node.tempfile, "tempdir", str(path))
    monkeypatch.setattr("cotasp.sweep.ray_pool._NEWS_EVERY", 0.01)
    return path


@pytest.mark.slow
def test_a_trial_goes_on_where_its_lost_node_was(undisturbed, tmp_path, nodes):
    job = a_job(tmp_path / "sweep")
    out = Path(job.out)
    first = node.NodeTrial(job.name, job.steps)
    assert talk(job, first, until=lambda: bool(parcels.checkpoint_names(out))) is None
    first.process.kill()
    first.process.wait()
    os.close(first._lock)
    second = node.NodeTrial(job.name, job.steps)
    assert not first.folder.exists(), "what a lost trial left is in the way for ever"
    assert talk(job, second) == 0
    assert list(nodes.iterdir()) == []
    log = Path(job.log).read_text()
    assert log.count("$ on node ") == 2
    assert " -m cotasp resume " in log
    assert contents(out) == contents(undisturbed)
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_a_trial_that_is_stopped_leaves_a_checkpoint_here(undisturbed, tmp_path, nodes):
    job = a_job(tmp_path / "sweep", "steps_per_task=20_000", "checkpoint_every=10_000")
    actor = node.NodeTrial(job.name, job.steps)

    def stop_once() -> bool:
        metrics = actor.run / "metrics.csv"  # before its first row a signal may find no listener
        if not asked and metrics.exists() and len(metrics.read_text().splitlines()) > 1:
            asked.append(actor.stop())
        return False

    asked: list[None] = []
    assert talk(job, actor, until=stop_once) == 128 + signal.SIGTERM
    assert Path(job.log).read_text().splitlines()[-1].startswith("cotasp: stopped by SIGTERM in")
    assert Checkpoints(Path(job.out)).newest() is not None


@pytest.mark.slow
def test_a_trial_that_fails_on_a_node_says_why_here(tmp_path, nodes):
    job = a_job(tmp_path / "sweep", "dictionary.lmbda=50")
    assert talk(job, node.NodeTrial(job.name, job.steps)) == 2
    assert "no atom explains its text at 50" in trial.reason(job)
    assert not Path(job.out).exists()


def test_a_node_with_another_version_is_refused(tmp_path, nodes):
    actor = node.NodeTrial("t", 1)
    actor.facts = lambda: {"node": "n7 /tmp", "cotasp": "0.0.1"}
    with pytest.raises(RunError, match=r"node n7 /tmp: expected cotasp .* got 0\.0\.1; install"):
        talk(a_job(tmp_path / "sweep"), actor)


def test_a_run_under_way_here_is_not_sent(tmp_path, nodes):
    job = a_job(tmp_path / "sweep")
    run_here = a_run(Path(job.out), 10)
    with RunDirectory(run_here).locked(), pytest.raises(RunError, match="is at work on this run"):
        talk(job, node.NodeTrial(job.name, job.steps))


def test_what_a_trial_reserves(tmp_path):
    assert reserved(a_job(tmp_path), 2, 0.5) == {"CPU": 2, "GPU": 0}
    assert reserved(a_job(tmp_path, "device=cuda"), 2, 0.5) == {"CPU": 2, "GPU": 0.5}
    with pytest.raises(RecipeError, match="device: expected cuda, got cuda:1; Ray chooses"):
        reserved(a_job(tmp_path, "device=cuda:1"), 2, 0.5)


def test_a_trial_that_no_node_can_take_is_told(tmp_path):
    demand = {"CPU": 1.0, "GPU": 1.0}
    small = {"Alive": True, "Resources": {"CPU": 4.0}}
    gone = {"Alive": False, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    pool = a_pool(nodes=lambda: [small, gone])
    with pytest.raises(RecipeError, match="asks for 1 CPU and 1 GPU, and no node has as many; ask"):
        pool._check_room(demand)
    pool.address = "auto"
    with pytest.warns(UserWarning, match="it waits until such a node joins"):
        pool._check_room(demand)
    pool._check_room(demand)
    pool._check_room({"CPU": 4.0, "GPU": 0.0})


@pytest.mark.parametrize("gpus", [0, -1, 1.5])
def test_gpus_that_ray_cannot_reserve_are_refused(gpus):
    with pytest.raises(RecipeError, match=r"Ray\.gpus: expected a fraction above 0, or a whole"):
        Ray(gpus=gpus)
