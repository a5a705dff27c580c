"""How fast and how reliably tasks are learned: tasks x seeds x settings.

A setting is a recipe in benchmarks/learning/, by its name, or any recipe file.  Each trial is a run
in a process of one thread; the same command goes on where it was stopped, and trials that have
ended are kept.  Settings take turns (by seed, then task), so that all meet the same machine.

first table    per setting and task: trials that learned it, medians and 95 % bootstrap intervals of
               environment steps and CPU seconds until then, success at the end, and CPU time
               per update (all of a trial's, collecting included)
second table   CPU seconds until learned with the first setting over those with each other one

A task is learned at the first evaluation with success of at least 0.9 that the next three (or as
many as there are, at least one) follow with at least 0.8.  `> N`: not within the budget N; medians
and ratios of such trials are bounds (`?`: neither setting learned it).  CPU seconds leave out
evaluations and start-up.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _learning import KEPT, REACHED
from _learning_tables import STREAM, outcome, print_report, read_trial, write_json
from _machine import commit, machine
from tqdm import tqdm

from cotasp.errors import CotaspError, RecipeError, RunError, RunStopped
from cotasp.recipe import Recipe, load, to_node, with_seed
from cotasp.storage.rundir import RECIPE, SUMMARY, SWEEP
from cotasp.sweep import run_sweep
from cotasp.sweep.launchers import cores
from cotasp.sweep.plan import directory_name, split_values
from cotasp.sweep.pools import LocalPool
from cotasp.sweep.running import failures
from cotasp.sweep.trial import Job

YAML = (".yaml", ".yml")
SETTINGS = Path(__file__).parent / "learning"
CALLS = "calls.jsonl"  # commands, commits and machines that trials were run with
QUICK: dict[str, Any] = {
    "settings": ["toy_before", "toy"],
    "goals": "right,left",
    "seeds": "0,1",
    "steps": 1800,
    "every": 200,
    "out": Path("runs/learning-quick"),
}
USUAL: dict[str, Any] = {
    "settings": ["before", "recommended"],
    "seeds": "0-2",
    "out": Path("runs/learning"),
}
EXAMPLES = """examples:
  python benchmarks/learning.py --quick
  python benchmarks/learning.py before recommended --tasks drawer-close-v3,push-v3 --seeds 0-4
  python benchmarks/learning.py before --tasks window-close-v3 --steps 12000 --every 1000 \\
      --variant small:actor.hidden=[256,256] --variant hot:agent.initial_temperature=1 --curves
  python benchmarks/learning.py before recommended --stream --json results/learning.json
  python benchmarks/learning.py recommended before --report-only
"""


@dataclass(frozen=True)
class Trials:
    """What `run_sweep` runs: every trial's recipe by its directory."""

    recipes: dict[str, Recipe]

    def resolved(self) -> dict[str, Recipe]:
        return self.recipes

    def facts(self, trials: Iterable[str]) -> dict[str, Any]:
        """What `sweep.json` says, so that `cotasp report` finds them."""
        grouped: dict[str, dict[str, str]] = {}
        for trial in trials:
            variant, _, seed = trial.rpartition("/seed")
            grouped.setdefault(variant, {})[seed] = trial
        return {"question": __doc__.split("\n")[0], "baseline": None, "trials": grouped}


class TellingPool:
    """Processes on this machine, and a line for each trial that has ended."""

    def __init__(self, workers: int, tell: Callable[[Job], None]) -> None:
        self.pool, self.tell = LocalPool(workers), tell
        self.submit, self.close = self.pool.submit, self.pool.close

    def ended(self, timeout: float) -> list[tuple[Job, int]]:
        ended = self.pool.ended(timeout)
        for job, _ in ended:
            if job.finished:
                self.tell(job)
        return ended


@dataclass(frozen=True)
class Telling:
    """Opens a `TellingPool`."""

    workers: int
    tell: Callable[[Job], None]

    def open(self) -> TellingPool:
        return TellingPool(self.workers, self.tell)


def seeds_of(text: str) -> list[int]:
    """Seeds from `0-4` or `0,3`."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise RecipeError(f"--seeds {text}: expected e.g. 0-4 or 0,3")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return list(dict.fromkeys(found))


def _setting_name(name: str) -> str:
    return Path(name).stem if name.endswith(YAML) else name


def settings_of(options: argparse.Namespace) -> dict[str, tuple[Path, list[str]]]:
    """Name of each setting to its recipe file and overrides."""
    found: dict[str, tuple[Path, list[str]]] = {}
    for name in options.settings:
        path = Path(name) if name.endswith(YAML) else SETTINGS / f"{name}.yaml"
        if _setting_name(name) in found:
            raise RecipeError(f"two settings are called {path.stem!r}; name their files apart")
        found[_setting_name(name)] = path, list(options.set)
    first = next(iter(found.values()))[0]
    for text in options.variant:
        name, colon, changes = text.partition(":")
        if not (colon and changes and name == directory_name(name)) or name in found:
            raise RecipeError(f"--variant {text}: expected NEWNAME:key=value,key=value")
        found[name] = first, [*options.set, *split_values(changes)]
    return found


def trials_of(options: argparse.Namespace) -> Trials:
    """Every trial in order: by seed, then task, then setting."""
    tasks = {STREAM: []} if options.stream else {}
    for key in ("tasks", "goals"):
        names = split_values(getattr(options, key) or "")
        tasks |= {name: [f"stream.{key}=[{name}]"] for name in names}
    if not tasks:
        raise RecipeError("nothing to learn: give --tasks, --goals or --stream")
    both = {"steps_per_task": options.steps, "evaluation.every": options.every}
    given = [f"{key}={value}" for key, value in both.items() if value is not None]
    settings = settings_of(options)
    recipes = {
        (name, task): load(path, [*overrides, *given, *more])
        for name, (path, overrides) in settings.items()
        for task, more in tasks.items()
    }
    return Trials(
        {
            f"{name}/{task}/seed{seed}": with_seed(recipes[name, task], seed)
            for seed in seeds_of(options.seeds)
            for task in tasks
            for name in settings
        }
    )


def run_trials(options: argparse.Namespace) -> tuple[list[str], list[str], str]:
    """Runs what is missing; trials that have ended, all settings, and why trials have failed."""
    out, trials = options.out, trials_of(options)
    missing = [name for name in trials.recipes if not (out / name / SUMMARY).is_file()]
    ended: list[str] = []

    def tell(job: Job) -> None:
        ended.append(job.name)
        line = outcome(read_trial(out, job.name), options.end_counts)
        with tqdm.external_write_mode():
            print(f"[{len(ended)}/{len(missing)}] {line}", flush=True)

    there = len(trials.recipes) - len(missing)
    print(f"{len(missing)} trials to run, {there} there, {options.workers} side by side")
    out.mkdir(parents=True, exist_ok=True)
    if missing:
        with open(out / CALLS, "a", encoding="utf-8") as file:
            file.write(json.dumps({"command": sys.argv, "commit": commit(), **machine()}) + "\n")
    launcher = Telling(options.workers, tell)
    outcomes = run_sweep(trials, out, launcher, progress=sys.stderr.isatty())
    names = [name for name, one in outcomes.items() if one.state in ("done", "there")]
    settings = list(dict.fromkeys(name.split("/")[0] for name in trials.recipes))
    return names, settings, failures(outcomes)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def found_trials(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Trials in the directory that have ended, and their settings; those named, or all in order."""
    out = options.out
    places = [path.parent for path in out.glob("*/*/seed*/summary.json")]
    names = sorted(path.relative_to(out).as_posix() for path in places)
    settings = [_setting_name(name) for name in options.settings or ()]
    if not settings:
        last = json.loads(_text(out / SWEEP) or '{"trials": {}}')
        settings = list(dict.fromkeys(name.split("/")[0] for name in [*last["trials"], *names]))
    names = [name for setting in settings for name in names if name.split("/")[0] == setting]
    if not names:
        raise RunError(f"{out}: holds no trial that has ended of {', '.join(settings) or 'any'}")
    return names, settings


def report(names: Sequence[str], settings: Sequence[str], options: argparse.Namespace) -> None:
    """Prints the tables and writes the JSON file."""
    trials = [read_trial(options.out, name) for name in names]
    tables = print_report(trials, settings, options.end_counts, options.curves)
    if options.json is None:
        return
    one_of_each = {trial.setting: options.out / name for trial, name in zip(trials, names)}
    recipes = {name: to_node(load(path / RECIPE)) for name, path in one_of_each.items()}
    write_json(
        options.json,
        {
            "calls": [json.loads(line) for line in _text(options.out / CALLS).splitlines()],
            "criterion": {"reached": REACHED, "kept": KEPT, "end_counts": options.end_counts},
            "agents": {name: node["agent"] for name, node in recipes.items()},
            **tables,
            "trials": [asdict(trial) for trial in trials],
        },
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("settings", nargs="*", help="default: before recommended; the first is the reference")
    add("--tasks", metavar="A,B", help="Meta-World tasks, each alone, in the setting's stream")
    add("--goals", metavar="A,B", help="goals of the point toy, each alone")
    add("--stream", action="store_true", help="the settings' own streams, whole")
    add("--seeds", help="0-4 or 0,3; default 0-2")
    add("--steps", type=int, metavar="N", help="environment steps per task")
    add("--every", type=int, metavar="N", help="environment steps between evaluations")
    add("--set", action="append", default=[], metavar="key=value", help="edit of every setting")
    add(
        "--variant",
        action="append",
        default=[],
        metavar="NAME:key=value,key=value",
        help="a further setting, made from the first",
    )
    add("--workers", type=int, default=cores(), help="trials side by side; default: a core each")
    add("--out", type=Path, help="directory of the trials; default runs/learning")
    add("--json", type=Path, metavar="FILE", help="write curves and figures there")
    add("--end-counts", action="store_true", help="reaching 0.9 at the very end is learned, too")
    add("--curves", action="store_true", help="also print success by environment steps")
    add("--report-only", action="store_true", help="tables of what is in --out; runs nothing")
    add(
        "--quick", action="store_true", help="the toy, 2 goals, 2 seeds: < 1 minute on 2 free cores"
    )
    options = parser.parse_args()
    for key, value in (QUICK if options.quick else USUAL).items():
        if not getattr(options, key) and not (options.report_only and key == "settings"):
            setattr(options, key, value)
    return options


def main() -> int:
    """Runs and reports; the exit code."""
    options, failed = parsed(), ""
    try:
        if options.report_only:
            names, settings = found_trials(options)
        else:
            names, settings, failed = run_trials(options)
        report(names, settings, options)
    except RunStopped as stopped:
        print(f"learning: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("learning: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except CotaspError as error:
        print(f"learning: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RecipeError) else 1
    if failed:
        print(f"\n{failed}\nonce that is mended, the same command runs what is missing")
    written = f" and {options.json}" if options.json else ""
    print(f"\n{len(names)} trials; results in {options.out}{written}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
