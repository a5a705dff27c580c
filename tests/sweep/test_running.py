"""Sweeps as they run: idempotent, undisturbed by failures and kills, alike for every launcher."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cotasp.errors import RecipeError, RunError
from cotasp.recipe import load
from cotasp.storage.checkpoints import Checkpoints
from cotasp.sweep import fork_server, pools, running, trial
from cotasp.sweep.launchers import Local, Ray, Slurm, Stacked, cores
from cotasp.sweep.plan import Plan, axis_of
from cotasp.sweep.running import Outcome, failures, make_job, outcome_table, prepare, run_sweep
from cotasp.sweep.stacked import run_stacked
from tests.continual.runs import contents

TINY = """
stream: {name: point, goals: [left, right], horizon: 10}
steps_per_task: 300
frames_per_batch: 10
encoder: random
dictionary: {lmbda: 0.01}
actor: {hidden: [64]}
agent: {critic: {hidden: [16]}, batch_size: 16, warmup_steps: 20, distillation_updates: 0}
evaluation: {every: 150, episodes: 2, average: 1}
"""
SHORT = TINY.replace(" 300", " 100").replace(" 150", " 50")
ENDLESS = 100_000  # steps: no trial ends before it is stopped, however busy the machine
pytestmark = pytest.mark.slow
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "short.yaml"
    path.write_text(SHORT)
    return path


@pytest.fixture(scope="module")
def plan(recipe) -> Plan:
    return Plan(
        recipe=recipe, axes=dict([axis_of("dictionary.update=online,frozen")]), seeds=(0, 1)
    )


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory) -> Path:
    """A sweep with the local launcher."""
    out = tmp_path_factory.mktemp("sweep")
    outcomes = run_sweep(plan, out, Local(workers=2), progress=False)
    assert {o.state for o in outcomes.values()} == {"done"}, outcomes
    return out


def summaries(out: Path) -> dict[str, dict]:
    """What every trial found."""
    paths = sorted(out.rglob("summary.json"))
    return {str(path.parent.relative_to(out)): json.loads(path.read_text()) for path in paths}


def test_a_sweep_runs_every_trial(plan, undisturbed):
    assert set(summaries(undisturbed)) == set(plan.resolved())
    facts = {json.dumps(s["task_facts"]) for s in summaries(undisturbed).values()}
    assert len(facts) == 4, "rules and seeds make no difference: what follows would show nothing"


@pytest.mark.parametrize(
    ("changes", "component"),
    [
        ("renewals=[redo]", "ReDo"),
        ("protection=[freeze, cloning]", "Cloning"),
        ("mask=hat", "HAT"),
    ],
)
def test_what_cannot_be_stacked_is_refused_before_anything_is_written(
    recipe, tmp_path, changes, component
):
    plan = Plan(recipe=recipe, overrides=[changes, "memory=shelf"])
    with pytest.raises(RecipeError, match=rf"^sweep: all: {component} cannot be computed together"):
        run_sweep(plan, tmp_path / "sweep", Stacked(), progress=False)
    assert not (tmp_path / "sweep").exists()


def test_a_logger_of_one_run_per_process_is_refused_with_stacked(recipe, tmp_path):
    plan = Plan(recipe=recipe, overrides=["logger=mlflow"])
    with pytest.raises(RecipeError, match=r"^sweep: all: logger: mlflow cannot follow several"):
        run_sweep(plan, tmp_path / "sweep", Stacked(), progress=False)


def test_again_nothing_runs_and_what_is_missing_does(plan, undisturbed, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("summary.json")}
    outcomes = run_sweep(plan, undisturbed, Local(), progress=False)
    assert {o.state for o in outcomes.values()} == {"there"}
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("summary.json")}
    lines = outcome_table(outcomes, undisturbed).splitlines()
    assert len(lines) == 1 + len(outcomes)
    assert all("there" in line for line in lines[1:])


def test_another_recipe_is_not_taken_for_what_is_there(plan, undisturbed):
    other = replace(plan, overrides=["agent.gamma=0.5"])
    with pytest.raises(RunError, match="holds a run of another recipe, whose agent differs"):
        run_sweep(other, undisturbed, Local(), progress=False)
    # but what no result depends on may be another
    edited = replace(plan, overrides=["question=Why?", "checkpoint_every=70"])
    assert all(job.finished for job in prepare(edited, undisturbed))


def test_a_recipe_that_is_no_text_is_named(plan, tmp_path):
    trial = tmp_path / "dictionary.update=online" / "seed0"
    trial.mkdir(parents=True)
    (trial / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"seed0/recipe.yaml: cannot read the recipe: not UTF-8"):
        prepare(plan, tmp_path)


def test_what_is_no_run_is_never_removed(plan, tmp_path):
    other = tmp_path / "dictionary.update=online" / "seed0"
    other.mkdir(parents=True)
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="exists and is not empty"):
        run_sweep(plan, tmp_path, Local(), progress=False)
    assert [path.name for path in tmp_path.rglob("*.*") if path.is_file()] == ["thesis.tex"]


@pytest.mark.parametrize("ending", ["yaml", "log"])
def test_a_link_in_a_sweep_is_refused_and_not_followed(ending, plan, tmp_path):
    link = tmp_path / "sweep" / "dictionary.update=online" / f"seed0.{ending}"
    link.parent.mkdir(parents=True)
    (tmp_path / "thesis.tex").write_text("years of work")
    link.symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(RunError, match=rf"seed0.{ending}: expected a file of the sweep .* remove"):
        prepare(plan, tmp_path / "sweep")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_trial_that_fails_stops_no_other(short, tmp_path, capsys):
    axes = {"what": {"good": ["dictionary.update=online"], "bad": ["dictionary.lmbda=50"]}}
    plan = Plan(recipe=short, axes=axes)
    outcomes = run_sweep(plan, tmp_path, Local(workers=1))
    assert outcomes["what=good/seed0"].state == "done"
    bad = outcomes["what=bad/seed0"]
    assert bad.state == "failed"
    assert "no atom explains its text at 50" in bad.reason
    told = capsys.readouterr()
    assert told.out == "what=bad/seed0: failed\n"
    assert told.err.count("2 trials") <= 4, "a file is filled with copies of the bar"
    rows = outcome_table(outcomes, tmp_path).splitlines()
    assert rows[2].split() == ["what=bad/seed0", "failed", "-", "-", "-"]
    assert len({len(row) for row in rows}) == 1
    (tmp_path / "what=good/seed0/summary.json").write_text("")  # a disk that was full
    assert "-     -" in outcome_table(outcomes, tmp_path).splitlines()[1]


def test_a_reason_stands_once_above_its_trials_and_their_logs():
    outcomes = {"b": Outcome("done"), "c": Outcome("killed", "killed too often", "c.log")}
    outcomes |= {name: Outcome("failed", "no room", f"{name}.log") for name in ("a", "d")}
    assert failures(outcomes).splitlines() == [
        "failed: killed too often",
        "  c: see c.log",
        "failed: no room",
        "  a: see a.log",
        "  d: see d.log",
    ]


def children(pid: int) -> list[int]:
    try:
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def words_of(pid: int) -> bytes:
    """A process's command; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def trials(sweep: int) -> list[int]:
    """The processes of a sweep's trials: where they are forked, the children of its only child, but
    for those that it starts while it imports (glfw asks for its version so).
    """
    if not fork_server.SUPPORTED:
        return children(sweep)
    return [
        pid
        for server in children(sweep)
        for pid in children(server)
        if words_of(pid) == words_of(server)
    ]


@linux
def test_killed_trials_are_tried_again_and_nothing_differs(plan, undisturbed, tmp_path):
    """Kills -9 at random moments of a sweep of four trials: of the process that forks them, which
    takes along those that run, and of trials.
    """
    command = [sys.executable, "-m", "cotasp", "sweep", str(plan.recipe), "--seeds", "2"]
    command += ["--axis", "dictionary.update=online,frozen", "--workers", "2", "--quiet"]
    sweep = subprocess.Popen(
        [*command, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    chance, kills = random.Random(3), 0
    while kills < 3 and sweep.poll() is None:
        time.sleep(chance.uniform(0.3, 1.8))
        alive = trials(sweep.pid)
        if alive:
            victims = alive if kills else children(sweep.pid)
            os.kill(chance.choice(victims), signal.SIGKILL)
            kills += 1
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err.decode()
    assert kills == 3
    assert out.decode().splitlines()[-1].startswith("done: 4 of 4 trials have ended")
    assert summaries(tmp_path) == summaries(undisturbed)
    logs = "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert logs.count("$ ") in (4 + kills, 4 + kills + 1)  # one or two ran beside each other


def test_two_sweeps_never_run_one_trial(plan, short, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "PATIENCE", 0.2)
    plan = replace(plan, recipe=short, seeds=(0,))
    name = next(iter(plan.resolved()))
    prepare(plan, tmp_path)
    with open(tmp_path / f"{name}.log", "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        outcomes = run_sweep(plan, tmp_path, Local(workers=1), progress=False)
    assert not (tmp_path / name).exists()
    refused = outcomes.pop(name)
    assert refused.state == "failed"
    assert "another process is at work on this trial" in refused.reason
    assert [outcome.state for outcome in outcomes.values()] == ["done"]


def test_a_trial_at_which_another_is_at_work_keeps_no_other_waiting(tmp_path):
    """It is begun once the other has ended, in however many looks."""
    pool, locked, started = pools.LocalPool(workers=2), {"a", "b"}, []

    def start(*jobs, simulators):
        if {job.name for job in jobs} & locked:
            raise trial.BusyError("another process is at work")
        started.extend(job.name for job in jobs)
        return subprocess.Popen(["true"])

    pool.server.start = start
    for name in "abcd":
        pool.submit(trial.job_at(str(tmp_path / name), name, 1))
    begun = time.monotonic()
    ended = pool.ended(0.0)
    assert time.monotonic() - begun < pools.PATIENCE / 2
    assert started == ["c", "d"]
    locked.clear()
    while len(ended) < 4:
        ended += pool.ended(0.1)
    assert started == ["c", "d", "a", "b"]
    assert all(code == 0 for _, code in ended)
    pool.close()


def test_the_directory_of_a_run_is_not_made_one_of_a_sweep(plan, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("seed: 0\n")
    with pytest.raises(RunError, match="run: there is a run already"):
        prepare(plan, tmp_path / "run")
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "recipe.yaml"]


def ends(pool, job: trial.Job) -> int:
    """The exit code of a pool's only job."""
    pool.submit(job)
    until = time.monotonic() + 60
    while not (ended := list(pool.ended(1.0))):
        assert time.monotonic() < until
    return ended[0][1]


def broken(path: Path) -> trial.Job:
    """A job that ends with an error of its worker, not of its trial."""
    return trial.Job("t", "t.yaml", None, str(path / "t.log"), 1)  # type: ignore[arg-type]


@linux
def test_a_trial_dies_with_its_sweep(plan, tmp_path):
    command = [sys.executable, "-m", "cotasp", "sweep", str(plan.recipe), "--quiet"]
    sweep = subprocess.Popen([*command, "--out", str(tmp_path)], stderr=subprocess.DEVNULL)
    while not (running := trials(sweep.pid)):
        time.sleep(0.02)
    running += children(sweep.pid)
    sweep.kill()
    sweep.wait()
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in running):
        assert time.monotonic() < until, "the trial goes on alone"
        time.sleep(0.05)


@linux
def test_a_sweep_that_is_stopped_stops_its_trials_where_they_can_go_on(recipe, tmp_path):
    """As Ctrl-C does, SIGINT goes to the sweep's process group, and SIGTERM to the sweep alone."""
    command = [sys.executable, "-m", "cotasp", "sweep", str(recipe), f"steps_per_task={ENDLESS}"]
    command += ["--seeds", "2", "--workers", "2", "--quiet", "--out", str(tmp_path)]
    jobs = [make_job(tmp_path, f"all/seed{seed}", load(recipe)) for seed in (0, 1)]
    for number, send in ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)):
        before = [job.progress() for job in jobs]
        sweep = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
        while not all(job.progress() > steps for job, steps in zip(jobs, before)):
            time.sleep(0.02)
            assert sweep.poll() is None
        send(sweep.pid, number)
        err = sweep.communicate(timeout=60)[1].decode()
        assert sweep.returncode == 128 + number
        notice, last = err.split("\n")[1:3]
        assert notice.startswith(f"{number.name}: stopping where it can go on; once more stops")
        assert last.startswith(f"cotasp: stopped by {number.name}, 0 of 2 trials have ended; ")
        for job in jobs:
            last = Path(job.log).read_text().splitlines()[-1]
            assert last.startswith("cotasp: stopped by SIGTERM in task"), last
    assert all(Path(job.log).read_text().count(" -m cotasp resume ") == 1 for job in jobs)


def test_slurm_jobs_give_the_same_results(plan, undisturbed, tmp_path):
    """submitit's local executor stands for the cluster."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    plan = replace(plan, seeds=(0,))
    launcher = Slurm(cluster="local", folder=str(tmp_path / "slurm"))
    outcomes = run_sweep(plan, tmp_path / "out", launcher, progress=False)
    assert {o.state for o in outcomes.values()} == {"done"}, outcomes
    job = broken(tmp_path)
    assert ends(launcher.open(), job) == 1
    assert "TypeError" in Path(job.log).read_text()
    expected = summaries(undisturbed)
    assert summaries(tmp_path / "out") == {name: expected[name] for name in plan.resolved()}


def learned(out: Path, name: str) -> dict[str, torch.Tensor]:
    """What a trial has learned: weights and codes."""
    state = Checkpoints(out / name).newest().state()["learner"]
    actor = state["actor"]
    return {**actor["meta_policy"], "codes": actor["codes"]}


def test_stacked_seeds_learn_what_each_learns_alone(plan, undisturbed, tmp_path):
    plan = replace(plan, axes=dict([axis_of("dictionary.update=online")]))
    outcomes = run_sweep(plan, tmp_path, Stacked(), progress=False)
    assert [outcome.state for outcome in outcomes.values()] == ["done", "done"], outcomes
    for name in outcomes:
        assert "cotasp.sweep.stacked" in (tmp_path / f"{name}.log").read_text()
        ours, expected = summaries(tmp_path)[name], summaries(undisturbed)[name]
        assert ours["task_facts"].keys() == expected["task_facts"].keys()
        assert ours["performance"] == expected["performance"]
        theirs = learned(undisturbed, name)
        for key, tensor in learned(tmp_path, name).items():
            torch.testing.assert_close(tensor, theirs[key], rtol=1e-3, atol=1e-5)


def seeds(recipe: Path, out: Path, count: int) -> list[trial.Job]:
    """Jobs of a recipe's seeds."""
    jobs = [trial.job_at(str(out / f"seed{seed}"), f"seed{seed}", 600) for seed in range(count)]
    out.mkdir(exist_ok=True)
    for seed, job in enumerate(jobs):
        Path(job.recipe).write_text(f"{recipe.read_text()}\nseed: {seed}\n")
    return jobs


def test_simulators_beside_a_stack_change_no_bit(short, tmp_path):
    for simulators in (0, 2):
        assert run_stacked(seeds(short, tmp_path / f"{simulators}", 3), simulators) == 0
    for seed in range(3):
        without, beside = (contents(tmp_path / n / f"seed{seed}") for n in ("0", "2"))
        assert without == beside
    assert len({str(contents(path)["summary"]) for path in (tmp_path / "0").glob("seed?")}) == 3


def test_the_simulators_of_a_stack_are_its_options():
    assert Stacked(simulators=0).open().simulators == 0
    assert Stacked(simulators=5).open().simulators == 5
    assert Stacked().open().simulators == cores()
    assert Stacked(workers=10**6).open().simulators == 1
    job = trial.job_at("run", "run", 600)
    assert trial.command(job, job, simulators=3) == ["cotasp.sweep.stacked", "3", "run", "run"]


def test_of_stacked_trials_one_may_fail(short, tmp_path):
    jobs = [trial.job_at(str(tmp_path / name), name, 600) for name in ("good", "bad")]
    Path(jobs[0].recipe).write_text(short.read_text())
    assert run_stacked(jobs) == 1
    good, bad = jobs
    assert good.finished
    assert summaries(tmp_path)["good"]["performance"] >= 0
    assert trial.reason(bad).startswith(f"{bad.recipe}: ")


def test_an_error_that_nobody_expected_is_told_with_its_place(recipe, tmp_path, monkeypatch):
    def missing(path):
        raise KeyError("observation")

    monkeypatch.setattr("cotasp.recipe.load", missing)
    job = trial.job_at(str(tmp_path / "seed0"), "seed0", 600)
    assert run_stacked([job]) == 1
    assert trial.reason(job) == "KeyError: 'observation'"
    assert "in missing" in Path(job.log).read_text()


def started(*jobs: trial.Job) -> subprocess.Popen:
    """Trials whose locks a process that has just ended may still leave held for a moment."""
    until = time.monotonic() + trial.PATIENCE
    while True:
        try:
            return trial.start(*jobs)
        except trial.BusyError:
            assert time.monotonic() < until
            time.sleep(0.02)


@linux
@pytest.mark.parametrize("simulators", [0, 2])
def test_stacked_trials_are_stopped_and_go_on(simulators, short, tmp_path):
    jobs = seeds(short, tmp_path, 2)
    process = trial.start(*jobs, simulators=simulators)
    while not all((Path(job.out) / "metrics.csv").exists() for job in jobs):
        time.sleep(0.02)
        assert process.poll() is None
    own = children(process.pid)
    assert len(own) == simulators
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    assert not any(Path(f"/proc/{pid}").exists() for pid in own)
    for job in jobs:
        assert Path(job.log).read_text().splitlines()[-1].startswith("cotasp: stopped by SIGTERM")
    assert started(*jobs).wait() == 0
    assert all(job.finished for job in jobs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stacked(workers=0), "Stacked.workers: expected at least 1"),
        (lambda: Stacked(simulators=-1), "Stacked.simulators: expected at least 0, got -1"),
        (lambda: Local(workers=0), "Local.workers: expected at least 1"),
        (lambda: Ray(cpus=0), "Ray.cpus: expected above 0"),
        (lambda: Slurm(minutes=0), "Slurm.minutes: expected at least 1"),
        (lambda: Slurm(cluster="moon"), "Slurm.cluster: expected slurm or local"),
    ],
)
def test_launchers_check_their_fields(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_some_variants_and_seeds_are_added_and_the_others_stay(plan, tmp_path):
    online, frozen = "dictionary.update=online", "dictionary.update=frozen"
    prepare(replace(plan, baseline=frozen), tmp_path)
    before = json.loads((tmp_path / "sweep.json").read_text())
    for places in before["trials"].values():
        for place in places.values():
            (tmp_path / place).mkdir(parents=True)
    prepare(replace(plan, only=(online,), seeds=(7,)), tmp_path)
    after = json.loads((tmp_path / "sweep.json").read_text())
    assert after["baseline"] == frozen
    assert after["axes"] == before["axes"]
    assert after["trials"][frozen] == before["trials"][frozen]
    assert set(after["trials"][online]) == {"0", "1", "7"}


def test_sweeps_that_prepare_in_one_directory_wait_for_each_other(plan, tmp_path, monkeypatch):
    """The second reads what the first has written, however slowly that writes."""
    read, both = running.with_earlier, threading.Barrier(2)

    def slowly(out, facts):
        told = read(out, facts)
        with suppress(threading.BrokenBarrierError):  # who waits for the lock does not come
            both.wait(0.5)
        return told

    monkeypatch.setattr(running, "with_earlier", slowly)
    threads = [
        threading.Thread(target=prepare, args=(replace(plan, seeds=(seed,)), tmp_path))
        for seed in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = json.loads((tmp_path / "sweep.json").read_text())["trials"]
    assert all(sorted(seeds) == ["0", "1"] for seeds in trials.values())


def test_trials_that_wait_are_not_forgotten(plan, tmp_path):
    online, frozen = "dictionary.update=online", "dictionary.update=frozen"
    prepare(replace(plan, only=(online,), baseline=online), tmp_path)
    prepare(replace(plan, only=(frozen,), seeds=(0,)), tmp_path)
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert {name: [*seeds] for name, seeds in told["trials"].items()} == {
        online: ["0", "1"],
        frozen: ["0"],
    }
    assert told["baseline"] == online


@pytest.mark.parametrize(
    "content", ["", '{"trials": {"a', "[]", "{}", '{"trials": 1}', "[" * 99_999]
)
def test_what_earlier_calls_told_is_not_lost_with_a_damaged_file(content, plan, tmp_path):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunError, match=r"sweep.json: damaged.*put it back, or remove it"):
        prepare(plan, tmp_path)
    assert (tmp_path / "sweep.json").read_text() == content


def test_sweep_json_is_whole_or_as_it_was(plan, tmp_path, monkeypatch):
    prepare(replace(plan, seeds=(0,)), tmp_path)
    before = (tmp_path / "sweep.json").read_text()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cotasp.storage.disk.write_new", full)
    with pytest.raises(RunError, match="cannot write the sweep: No space left on device"):
        prepare(plan, tmp_path)
    assert (tmp_path / "sweep.json").read_text() == before


def test_trials_of_an_earlier_call_that_are_not_there_are_forgotten(plan, tmp_path):
    out = tmp_path / "sweep"
    prepare(plan, out)
    shutil.rmtree(out / "dictionary.update=frozen")
    prepare(replace(plan, only=("dictionary.update=online",), seeds=(0,)), out)
    told = json.loads((out / "sweep.json").read_text())["trials"]
    assert "dictionary.update=frozen" not in told
