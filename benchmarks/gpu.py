"""What a GPU gives: correctness, updates per second, the whole loop, and learning on it.

    python benchmarks/gpu.py [--parts checks,updates,loop,learning] [--json FILE]

Without CUDA it says so and runs the same on the processor with tiny sizes.  Each part is a process
with a time limit of its own and writes its figures as they come, so that what is there survives.

checks      guarantees on the device: certificates, compact = dense, nothing forgotten, resume,
            stacked = alone, device = processor
updates     per second for 1 to 64 stacked seeds, launched kernel by kernel, captured as a CUDA
            graph and compiled; float32, TF32 and bfloat16 products; TorchRL's SACLoss with plain
            networks of the same size, eager, compiled, with its CudaGraphModule; memory
loop        16 seeds of a Meta-World task by `cotasp sweep --launcher stacked`, simulators in
            processes of their own: environment steps per second of all, the start left out, by
            steps collected between two stretches of updates
learning    CW10 at 50,000 steps a task with 16 seeds, until its time is up: how far it came

Sizes: `paper`: batch 256, twin critics 4 x 256, lambda 1e-3 (about 187 active neurons a layer);
`recommended`: the library's defaults with lambda 3e-2 (about 113).  Rates are medians of rounds.
"""

from __future__ import annotations

# ruff: noqa: E402 - the thread counts must be set before the libraries load
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _machine import commit, machine

HERE = Path(__file__).parent
LIMITS = {"checks": 120, "updates": 130, "loop": 170, "learning": 80}  # s
ROUNDS = 9
Work = Callable[[int], object]  # does so many updates


@dataclass(frozen=True)
class Sizes:
    """How much a part does: on a GPU, or anywhere, to see that it runs."""

    seeds: tuple[int, ...]
    rounds: int
    width: int
    loop_seeds: int
    steps: int
    learning_steps: int
    episodes: int
    stretch: int  # updates from one collected batch to the next


GPU = Sizes((1, 4, 16, 64), ROUNDS, 1024, 16, 24_000, 50_000, 10, 50)  # 50 as in recipes
TINY = Sizes((1, 2), 1, 64, 2, 1000, 2000, 1, 10)


def card(device: str) -> dict[str, str]:
    """The device as found, its clocks and temperature included; also prints it."""
    if device == "cpu":
        return {"device": "cpu"}
    asked = "name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw"
    query = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = torch.cuda.get_device_name(device)
    facts = {"device": found.splitlines()[0], "cuda": str(torch.version.cuda)}
    print("  ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    return facts


# -- updates per second ---------------------------------------------------------------------------


def rate(work: Work, rounds: int, updates: int, device: str) -> float:
    """Updates per second of wall time, so many per call: the median of rounds."""
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    work(updates)
    wait()
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        work(updates)
        wait()
        rates.append(updates / (time.perf_counter() - started))
    return median(rates)


def learners(kind: str, seeds: int, sizes: Sizes, device: str) -> list:
    """Learners at the beginning of their first task, their buffers filled."""
    from updates import ACT, OBS, transitions

    from cotasp.agents.off_policy import OffPolicyLearner
    from cotasp.agents.sac import SAC
    from cotasp.methods.freeze import Freeze
    from cotasp.methods.method import Method
    from cotasp.methods.problem import Problem
    from cotasp.modules.masks import Step
    from cotasp.modules.specs import ActorSpec, MLPCritic
    from cotasp.prompting.encoders import SBERT
    from cotasp.prompting.sparse_coding import SparseCoding
    from cotasp.tasks.texts import CW10, TEXTS

    texts = [TEXTS[CW10[0]]]
    lmbda, settings = 3e-2, SAC(warmup_steps=0, updates_per_transition=0)
    if kind == "paper":
        critic = MLPCritic((256,) * 4, "leaky_relu", norm="first")
        lmbda, settings = 1e-3, replace(settings, critic=critic, batch_size=256, actor_average=0.0)
    made = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        method = Method(
            encoder=SBERT().prepare(texts),
            dictionary=SparseCoding(lmbda=lmbda, solver="lars"),
            mask=Step(),
            protections=(Freeze(),),
            actor=ActorSpec(hidden=(sizes.width,) * 4),
        )
        problem = Problem(texts, OBS, ACT, steps_per_task=20_000, seed=seed, device=device)
        learner = OffPolicyLearner(settings, problem, method)
        learner.start_task(0)
        learner.learn(transitions(10_000))
        made.append(learner)
    return made


def together(made: list, context: Callable[[], Any] = nullcontext) -> Work:
    """Updates of all learners, sampling and checks included."""
    from cotasp.agents.stacked import StackedUpdates
    from cotasp.continual.lockstep import in_lockstep

    updates = StackedUpdates()

    def compute(*requests: Any) -> list:
        with context():
            return updates(*requests)

    def work(one: Any, count: int, meet: Callable) -> None:
        one.updater = meet
        one.update(count)

    def all_of_them(count: int) -> None:
        ended = in_lockstep([partial(work, one, count) for one in made], compute)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome

    return all_of_them


@contextmanager
def bfloat16(device: str) -> Iterator[None]:
    """Products of bfloat16 factors, which no setting of the library asks a GPU for."""
    from cotasp.modules.critics import Layers

    original = Layers.__init__

    def rounding(layers: Layers, *args: Any) -> None:
        original(layers, *args)
        layers._product = lambda a, b: (a.bfloat16() @ b.bfloat16()).float()

    Layers.__init__ = rounding  # written by hand, they do not heed autocast
    try:
        with torch.autocast(device.split(":")[0], torch.bfloat16, cache_enabled=False):
            yield
    finally:
        Layers.__init__ = original


def torchrl_update(kind: str, way: str, device: str) -> Work:
    """SAC's update by TorchRL alone, with plain networks as large as the sub-network's."""
    from tensordict.nn import CudaGraphModule, TensorDictModule
    from torch import nn
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
    from torchrl.modules import (
        MLP,
        NormalParamExtractor,
        ProbabilisticActor,
        TanhNormal,
        ValueOperator,
    )
    from torchrl.objectives import SACLoss, SoftUpdate
    from updates import ACT, OBS, transitions

    torch.manual_seed(0)
    width, critic, batch = (187, [256] * 4, 256) if kind == "paper" else (113, [256] * 2, 128)
    net = nn.Sequential(
        MLP(OBS, 2 * ACT, num_cells=[width] * 4, device=device), NormalParamExtractor()
    )
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        distribution_kwargs={"safe_tanh": not way.startswith("compiled")},
        return_log_prob=True,
    )
    critics = [
        ValueOperator(
            MLP(OBS + ACT, 1, num_cells=critic, device=device), in_keys=["observation", "action"]
        )
        for _ in range(2)
    ]
    loss = SACLoss(actor, critics, target_entropy=-float(ACT), loss_function="l2")
    loss.make_value_estimator(gamma=0.99, device=device)
    targets = SoftUpdate(loss, tau=0.005)
    graph = way.endswith("graph")
    optimiser = torch.optim.Adam(loss.parameters(), lr=3e-4, fused=True, capturable=graph)
    storage = LazyTensorStorage(10_000, device=device)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=batch)
    buffer.extend(transitions(10_000))

    def update(data: Any) -> Any:
        optimiser.zero_grad(set_to_none=True)
        values = loss(data)
        sum(values[name] for name in ("loss_actor", "loss_qvalue", "loss_alpha")).backward()
        optimiser.step()
        targets.step()
        return values.detach()

    step: Callable = torch.compile(update) if way.startswith("compiled") else update
    if graph:
        step = CudaGraphModule(step, in_keys=[], out_keys=[], warmup=5)

    def work(count: int) -> None:
        for _ in range(count):
            step(buffer.sample())

    return work


def ways_of(kind: str, sizes: Sizes, device: str) -> Iterator[tuple[str, int, Callable[[], Work]]]:
    """Name, seeds, and what makes the work, of everything that is measured; most wanted first."""
    every: dict[int, list] = {}

    def some(seeds: int, **changes: Any) -> list:
        """The first learners, made once, with other settings of the agent."""
        most = max(every, default=0)
        if seeds > most:
            every.clear()
            every[seeds] = learners(kind, seeds, sizes, device)
            most = seeds
        made = every[most][:seeds]
        for one in made:
            one.settings = replace(one.settings, cuda_graphs=True, precision="float32")
            one.settings = replace(one.settings, **changes)
        return made

    eager = {"cuda_graphs": False}
    yield "eager", 1, lambda: together(some(1, **eager))
    counts = sizes.seeds if kind == "recommended" else sizes.seeds[:3]
    for n in counts:
        yield "graph", n, lambda n=n: together(some(n))
    for way in ("eager",) if device == "cpu" else ("eager", "graph"):
        yield f"TorchRL {way}", 1, lambda way=way: torchrl_update(kind, way, device)
    several = counts[-1] if device == "cpu" else 16
    yield "eager", several, lambda: together(some(several, **eager))
    for n in (1, several):
        yield "graph, TF32", n, lambda n=n: together(some(n, precision="bfloat16"))
        yield "graph, bfloat16", n, lambda n=n: together(some(n), partial(bfloat16, device))
    if device != "cpu" and kind == "paper":  # the last: up to a minute and a half each
        for n in (1, several):
            yield "compiled graph", n, lambda n=n: together(some(n, compile=True))
        for way in ("compiled", "compiled graph"):
            yield f"TorchRL {way}", 1, lambda way=way: torchrl_update(kind, way, device)


def updates_part(sizes: Sizes, device: str, tell: Callable[..., None]) -> None:
    """Updates per second and memory."""
    for kind in ("recommended", "paper") if device != "cpu" else ("recommended",):
        for name, seeds, make in ways_of(kind, sizes, device):
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            facts: dict[str, Any] = {"sizes": kind, "way": name, "seeds": seeds}
            try:
                started = time.perf_counter()
                work = make()
                facts["updates_per_s"] = seeds * rate(work, sizes.rounds, sizes.stretch, device)
                facts["seconds"] = round(time.perf_counter() - started, 1)
            except Exception as error:  # one way that fails leaves the others alone
                facts["failed"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            if device != "cpu":
                facts["peak_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
            tell(**facts)


# -- the whole loop -------------------------------------------------------------------------------


def sweep(out: Path, recipe: str, seeds: int, *words: str, limit: float) -> tuple[float, str]:
    """Runs a stacked sweep, or as much as the limit allows; wall seconds and the last words."""
    command = [sys.executable, "-m", "cotasp", "sweep", recipe, *words, "--seeds", str(seeds)]
    command += ["--launcher", "stacked", "--out", str(out), "--quiet"]
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=HERE.parent
    )
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        try:
            said, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    return time.monotonic() - started, said[-2000:]


def successes(out: Path) -> dict[str, dict[str, list[list[float]]]]:
    """Evaluations so far, [steps, success], by trial and task."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for path in sorted(out.rglob("metrics.csv")):
        curves = found.setdefault(str(path.parent.relative_to(out)), {})
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["name"] == "evaluation/success":
                    point = [float(row["step"]), float(row["value"])]
                    curves.setdefault(row["task"], []).append(point)
    return found


def loop_part(sizes: Sizes, device: str, tell: Callable[..., None]) -> None:
    """Environment steps per second of several seeds: all but the start, and while they train."""
    # what stacking costs, it costs per batch; rates are told every 1,000 steps
    batches = {200: sizes.steps, 40: max(sizes.steps // 4, 1000)}
    with tempfile.TemporaryDirectory() as folder:
        for (frames, steps), share in zip(batches.items(), (0.65, 0.35)):
            out = Path(folder) / str(frames)
            wall, said = sweep(
                out,
                "recipes/quickstart.yaml",
                sizes.loop_seeds,
                "stream.tasks=[window-close-v3]",
                f"steps_per_task={steps}",
                f"evaluation.every={steps}",
                f"evaluation.episodes={sizes.episodes}",
                "agent.warmup_steps=400",
                f"frames_per_batch={frames}",
                f"actor.hidden={[sizes.width] * 4}",
                f"device={device}",
                "--simulators",
                str(sizes.loop_seeds),
                limit=LIMITS["loop"] * share,
            )
            times = [json.loads(p.read_text()) for p in out.rglob("timing.json")]
            if not times:
                tell(frames_per_batch=frames, failed=said.strip()[-500:])
                continue
            seconds = max(t["wall_seconds"] for t in times)
            total, each = steps * len(times), rate_in_training(out)
            tell(
                frames_per_batch=frames,
                simulators=sizes.loop_seeds,
                seeds=len(times),
                steps=total,
                seconds=seconds,
                wall_seconds=round(wall, 1),
                steps_per_s=total / seconds,
                steps_per_s_in_training=each and len(times) * each,
                peak_memory_mb=round(max(t["peak_memory_bytes"] for t in times) / 1e6),
            )


def rate_in_training(out: Path) -> float | None:
    """A trial's environment steps per second while it trains: the median of its reports, if any."""
    found = []
    for path in out.rglob("timing.csv"):
        with open(path, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["name"] == "timing/steps_per_second"]
        found += [float(row["value"]) for row in rows]
    return median(found) if found else None


def learning_part(sizes: Sizes, device: str, tell: Callable[..., None]) -> None:
    """CW10 with many seeds, as far as the time allows."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cw10"
        wall, said = sweep(
            out,
            "recipes/cotasp_cw10.yaml",
            sizes.loop_seeds,
            f"steps_per_task={sizes.learning_steps}",
            f"evaluation.every={sizes.learning_steps // 5}",
            f"actor.hidden={[sizes.width] * 4}",
            f"agent.warmup_steps={min(4000, sizes.learning_steps // 4)}",
            "frames_per_batch=200",
            f"device={device}",
            limit=LIMITS["learning"] - 25,
        )
        tell(wall_seconds=round(wall, 1), said=said.strip()[-300:], curves=successes(out))


# -- all parts ------------------------------------------------------------------------------------

PARTS = {"updates": updates_part, "loop": loop_part, "learning": learning_part}


def run_part(name: str, device: str, lines: Path) -> None:
    """One part in this process."""

    def tell(**facts: Any) -> None:
        with open(lines, "a", encoding="utf-8") as file:
            file.write(json.dumps({"part": name, **facts}) + "\n")
        words = {k: v for k, v in facts.items() if k != "curves"}
        numbers = (
            f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in words.items()
        )
        print("  ".join(numbers), flush=True)

    PARTS[name](TINY if device == "cpu" else GPU, device, tell)


def run_parts(parts: list[str], device: str, lines: Path) -> dict[str, str]:
    """Each part in a process of its own; how each ended."""
    ended = {}
    for name in parts:
        print(f"\n-- {name}", flush=True)
        script = [str(HERE / "_gpu_checks.py"), device]
        if name != "checks":
            script = [__file__, "--part", name, "--device", device, "--lines", str(lines)]
            script += ["--limits", f"{name}={LIMITS[name]}"]
        process = subprocess.Popen([sys.executable, *script], start_new_session=True)
        try:
            code = process.wait(timeout=LIMITS[name])
            ended[name] = "done" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            ended[name] = f"stopped after its {LIMITS[name]} s"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(f"-- {name}: {ended[name]}", flush=True)
    return ended


def main() -> None:
    """Runs the parts, prints what they found, and writes it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="checks,updates,loop,learning", metavar="A,B")
    parser.add_argument(
        "--limits", default="", metavar="A=S,B=S", help=f"seconds; default {LIMITS}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--lines", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for word in filter(None, options.limits.split(",")):
        name, _, seconds = word.partition("=")
        if name not in LIMITS or not seconds.isdecimal():
            parser.error(f"--limits: expected e.g. loop=60, of {', '.join(LIMITS)}; got {word}")
        LIMITS[name] = int(seconds)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.part:
        run_part(options.part, device, options.lines)
        return
    parts = options.parts.split(",")
    unknown = [name for name in parts if name not in LIMITS]
    if unknown:
        parser.error(f"--parts: expected {', '.join(LIMITS)}, got {', '.join(unknown)}")
    if device == "cpu":
        print("no CUDA here: the parts run on the processor with tiny sizes, to see that they run")
    facts = {"machine": machine(), "commit": commit(), **card(device)}
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        lines.touch()
        try:
            facts["ended"] = run_parts(parts, device, lines)
        finally:
            facts["figures"] = [json.loads(line) for line in lines.read_text().splitlines()]
            if options.json:
                options.json.write_text(json.dumps(facts, indent=1) + "\n")
    if any(state != "done" for state in facts["ended"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
