"""Whether a device computes what the library promises; small sizes, seconds for each check.

    python benchmarks/_gpu_checks.py [DEVICE]

Prints a line per check, goes on after one that fails, and ends with exit code 1 if any did.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")

import torch
from _toys import OBS, TASKS, TOY, begin, distance, learner, violation
from torch import Tensor
from torch.utils._pytree import tree_map

from cotasp.agents.off_policy import OffPolicyLearner
from cotasp.agents.stacked import StackedUpdates
from cotasp.continual.collection import Collection
from cotasp.continual.lockstep import in_lockstep
from cotasp.continual.loop import resume, run
from cotasp.continual.saved import load_run
from cotasp.dictionaries import sparse_encode
from cotasp.errors import ConvergenceWarning, RecipeError
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.recipe import loads
from cotasp.registry import KINDS
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.snapshot import pack

# what a component needs at these sizes besides its name
SETTINGS = {"topk": "k: 8", "ewc": "weight: 10, samples: 8", "residual": "width: 16"}


def check_solvers(device: str) -> str:
    """Solvers return a lasso solution, or say that they do not; prompts are those of the CPU."""
    generator = torch.Generator().manual_seed(0)
    X, D = (torch.randn(n, 32, generator=generator, dtype=torch.float64) for n in (6, 96))
    X, D = (torch.nn.functional.normalize(a).to(device) for a in (X, D))
    lmbda = 0.2 * float((X @ D.mT).abs().max())
    worst, names = 0.0, []
    for name in KINDS["solver"].names():
        try:
            result = sparse_encode(X, D, lmbda=lmbda, solver=name)
        except RecipeError as error:
            if isinstance(error.__cause__, ImportError):  # its library is not installed
                continue
            raise
        names.append(name)
        assert result.code.device == X.device, f"{name}: code on {result.code.device}"
        found = violation(X, D, result.code, lmbda)
        difference = float((result.kkt.cpu() / lmbda - found).abs().max())
        assert difference < 1e-6, f"{name}: its certificate is off by {difference:.1e} lmbda"
        solver, kkt = KINDS["solver"].make(name), float(found.max())
        if solver.exact:
            assert kkt <= solver.tol, f"{name}: KKT residual {kkt:.1e} lmbda"
            worst = max(worst, kkt)
    here, cpu = learner(device), learner("cpu")
    masks = here.prompt_mask(here.actor.embeddings)
    assert masks.device.type == torch.device(device).type, f"masks on {masks.device}"
    assert torch.equal(masks.cpu(), cpu.prompt_mask(cpu.actor.embeddings)), (
        "prompts are not the CPU's"
    )
    return f"{', '.join(names)}: KKT <= {worst:.0e} lmbda; {len(masks)} prompts as on the CPU"


def check_cpu(device: str) -> str:
    """On the same draws the first 20 updates have the CPU's losses."""
    drawn: list[Any] = []
    cpu, here = (begin(learner(d, learning_rate=3e-4), 0) for d in ("cpu", device))
    alone, usual = cpu.updater, here.updater

    def note(made: OffPolicyLearner, draws: Any) -> Any:
        drawn.append(draws)
        return alone(made, draws)

    cpu.updater = note
    here.updater = lambda made, _: usual(made, tree_map(lambda t: t.to(device), drawn.pop(0)))
    largest = 0.0
    for update in range(1, 21):
        torch.manual_seed(update)
        expected, found = cpu.update(1), here.update(1)
        for name, value in expected.items():
            right, seen = float(value), float(found[name])
            apart = abs(seen - right) / max(1e-2, abs(right))
            assert apart <= 1e-4, f"update {update}: {name} {seen}, not {right}"
            largest = max(largest, apart)
    return f"{', '.join(expected)} of 20 updates within {largest:.0e}"


def check_compact(device: str) -> str:
    """Compact and dense make the same 2 x 120 updates, in float32 by small steps."""
    runs = []
    for execution in ("compact", "dense"):
        made = learner(device, execution=execution, learning_rate=1e-5)
        for task in range(2):
            begin(made, task)
            assert (made.actor.sub.network is made.actor.meta_policy) == (execution == "dense")
            torch.manual_seed(task)
            made.update(120)
            made.end_task()
        runs.append(made)
    one, other = runs
    assert torch.equal(one.actor.ownership.masks, other.actor.ownership.masks), "masks differ"
    networks = [[*r.actor.meta_policy.parameters(), *r.values.network.parameters()] for r in runs]
    apart = distance(*networks), distance([one.actor.codes], [other.actor.codes])
    assert max(apart) <= 1e-4, f"weights differ by {apart[0]:.1e}, codes by {apart[1]:.1e}"
    return f"weights within {apart[0]:.0e} of their norm, codes within {apart[1]:.0e}"


def _outputs(made: OffPolicyLearner, task: int, states: Tensor) -> list[Tensor]:
    with torch.no_grad():
        mask = made.actor.ownership.masks[task].float()
        return [*made.sub_network(task)(states), *made.actor.meta_policy(states, mask)]


def check_freeze(device: str) -> str:
    """Finished tasks' policies stay bit for bit; without protection they do not."""
    moved = {}
    for protection in (Freeze(), Unprotected()):
        made = learner(device, protection=protection, learning_rate=3e-3, distillation_updates=5)
        states = torch.randn(64, OBS, generator=torch.Generator().manual_seed(9)).to(device)
        kept: list[list[Tensor]] = []
        for task in range(TASKS):
            before = [p.detach().clone() for p in made.actor.meta_policy.parameters()]
            begin(made, task).update(60)
            made.end_task()
            assert distance(list(made.actor.meta_policy.parameters()), before) > 1e-3, (
                "nothing trained"
            )
            kept.append(_outputs(made, task, states))
        now = [_outputs(made, task, states) for task in range(TASKS - 1)]
        pairs = [pair for then, later in zip(kept, now) for pair in zip(then, later)]
        moved[protection] = max(float((a - b).abs().max()) for a, b in pairs)
        if isinstance(protection, Freeze):
            assert all(torch.equal(a, b) for a, b in pairs), f"moved by {moved[protection]:.1e}"
    drift = moved[Unprotected()]
    assert drift > 1e-3, f"without protection policies moved by {drift:.1e} only"
    return f"{len(pairs)} outputs the same bits; unprotected they move by {drift:.1g}"


class _Stopped(Exception):
    """Stands for whatever ends a process."""


def check_resume(device: str) -> str:
    """A run stopped within its second task ends with the bits of one that was not."""
    recipe, collect, calls = loads(TOY, [f"device={device}"]), Collection.collect, []

    def stopping(self: Collection, steps: int) -> Any:
        calls.append(steps)
        if len(calls) == 8:  # of the second task's 40 steps, 30 are done and 20 of them saved
            raise _Stopped
        return collect(self, steps)

    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        run(recipe, whole, progress=False)
        with patch.object(Collection, "collect", stopping):
            try:
                run(recipe, parts, progress=False)
            except _Stopped:
                place = Checkpoints(parts).paths()[-1].name
        assert place == "task_02_step_000000020", f"stopped after {place}"
        resume(parts, progress=False)
        one, other = (Checkpoints(path).newest() for path in (whole, parts))
        a, b = (pack(saved.state())[1] for saved in (one, other))
        differ = [name for name in a if not torch.equal(a[name], b[name])]
        assert not differ, f"{len(differ)} of {len(a)} tensors differ: {', '.join(differ[:3])}"
        assert one.content_hash() == other.content_hash(), "the rest of the state differs"
    return f"stopped after {place}: {len(a)} tensors the same bits"


def _hundred(device: str, seed: int, meet: Any = None) -> dict[str, Tensor]:
    """All that a learner holds after a hundred updates of its second task."""
    made = learner(device, seed, actor_average=0.9)
    made.updater = meet or made.updater
    torch.manual_seed(100 + seed)
    begin(made, 0).update(30)
    made.end_task()
    begin(made, 1).update(100)
    return {name: tensor.cpu() for name, tensor in pack(made.state_dict())[1].items()}


def check_stacked(device: str) -> str:
    """Four seeds updated together learn what each learns alone, in float64."""
    seeds = range(4)
    torch.set_default_dtype(torch.float64)
    try:
        alone = [_hundred(device, seed) for seed in seeds]
        others = in_lockstep([partial(_hundred, device, seed) for seed in seeds], StackedUpdates())
    finally:
        torch.set_default_dtype(torch.float32)
    for mine, theirs in zip(alone, others):
        if isinstance(theirs, BaseException):
            raise theirs
        torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-12)
    return f"{len(alone)} seeds, {len(mine)} tensors each within 1e-9"


# what every mask goes with
PROTECTED = "protection={name: freeze, by: tasks}"
REMEMBERS = "memory={name: shelf, size: 50}"  # what every protection may ask for, but for
NEEDS = {
    "vcl": ["actor.deviation=0.05", "mask=dense"],
    "pcgrad": ["stream.together=2", "mask=dense"],
    "pnn": [PROTECTED, "actor.norm=none"],
    "progress_compress": [PROTECTED, "actor={norm: none, heads: per_task}"],
}


def check_components(device: str) -> str:
    """Every critic, mask policy and protection goes through a run, its networks on the device."""
    kinds = {"agent.critic": "critic", "mask": "mask", "protection": "protection"}
    names = [(key, name) for key, kind in kinds.items() for name in KINDS[kind].names()]
    for key, name in names:
        node = f"{key}={{name: {name}, {SETTINGS.get(name, '')}}}"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "run")
            usual = [REMEMBERS if key == "protection" else PROTECTED]
            recipe = loads(TOY, [f"device={device}", node, *NEEDS.get(name, usual)])
            summary = run(recipe, out, progress=False)
            assert summary["tasks"] == ["right", "left"], f"{name}: {summary['tasks']}"
            made = load_run(out)[2]
        parameters = [*made.actor.meta_policy.parameters(), *made.values.network.parameters()]
        places = {p.device.type for p in parameters}
        assert places == {torch.device(device).type}, f"{name}: networks on {places}"
        assert all(bool(p.isfinite().all()) for p in parameters), f"{name}: weights not finite"
    return ", ".join(name for _, name in names)


CHECKS = [call for name, call in list(globals().items()) if name.startswith("check_")]


def perform(device: str, checks: Sequence[Callable[[str], str]]) -> int:
    """Prints a line per check, with seconds and warnings; returns how many failed."""
    failed = 0
    for check in checks:
        started, words = time.perf_counter(), "ok"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", ConvergenceWarning)  # made-up codes are hard to recall
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            try:
                seen = check(device)
            except Exception as error:
                failed, words = failed + 1, "FAILED"
                seen = f"{type(error).__name__}: {' '.join(str(error).split())}"
        name, seconds = check.__name__.removeprefix("check_"), time.perf_counter() - started
        print(f"{name:12}{words:8}{seconds:6.1f} s  {seen}", flush=True)
        for message in sorted({str(warning.message).split("\n")[0] for warning in caught}):
            print(f"{'':12}warning: {message}", flush=True)
    return failed


def main() -> None:
    """Performs the checks on the device that was named, or on the CPU."""
    sys.exit(perform(sys.argv[1] if len(sys.argv) > 1 else "cpu", CHECKS) > 0)


if __name__ == "__main__":
    main()
