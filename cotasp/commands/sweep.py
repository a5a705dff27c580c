"""`cotasp sweep`."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotasp.commands._common import add_verb, tell_replacements
from cotasp.errors import RecipeError, RunError

if TYPE_CHECKING:
    from cotasp.sweep.launchers import Launcher
    from cotasp.sweep.plan import Plan

EPILOG = """examples:
  cotasp sweep recipes/smoke.yaml --axis dictionary.update=online,anchored,frozen --seeds 5
  cotasp sweep recipes/ablations/frozen.yaml --seeds 5 --out runs/frozen
  cotasp sweep recipes/sweeps/methods.yaml --only finetune,ewc,packnet
  cotasp sweep recipes/smoke.yaml --seeds 8 --launcher stacked device=cuda
  cotasp sweep recipes/smoke.yaml --seeds 20 --launcher ray --address auto
Rerun the same command, and only what is missing runs.
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = add_verb(subparsers, "sweep", "Run a recipe's variants with many seeds.", EPILOG)
    parser.add_argument("recipe", metavar="FILE", help="a recipe, or a sweep that names its axes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="edits of every trial")
    parser.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="key=a,b",
        help="what varies; several axes: every combination",
    )
    parser.add_argument(
        "--seeds", metavar="N", help="how many, or which: 5, or 3,7,8, or `7,` alone; default 1"
    )
    parser.add_argument("--only", metavar="VARIANT,...", help="some variants, such as ewc,packnet")
    parser.add_argument("--baseline", metavar="VARIANT", help="e.g. dictionary.update=frozen")
    parser.add_argument(
        "--single-tasks", action="store_true", help="also each task alone, for forward transfer"
    )
    parser.add_argument("--out", help="directory of the sweep; default runs/<file>-sweep")
    parser.add_argument(
        "--launcher", default="local", help="local, stacked, ray, slurm or a plug-in"
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="side by side; default: a core each, or 1 stack",
    )
    parser.add_argument(
        "--simulators",
        type=int,
        help="processes that step the environments of a stack; default: a core each, 0: none",
    )
    parser.add_argument(
        "--address", help="of a Ray cluster, auto or ray://HOST:10001; default: one here"
    )
    parser.add_argument("--cpus", type=number, help="cores that a trial on Ray or Slurm reserves")
    parser.add_argument(
        "--gpus", type=number, help="of a trial on Ray with device=cuda; 0.5: shared"
    )
    parser.add_argument("--partition", help="of a Slurm cluster")
    parser.add_argument("--minutes", type=int, help="that a Slurm job may take")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def number(text: str) -> int | float:
    """A whole number, or one with a fraction."""
    return int(text) if text.isdecimal() else float(text)


def main(arguments: argparse.Namespace) -> None:
    """Runs the trials that are missing, and prints how each ended."""
    from cotasp.sweep.running import failures, outcome_table, run_sweep

    plan, launcher = make_plan(arguments), make_launcher(arguments)
    pairs: dict[tuple[Path, str], None] = {}
    for variant in plan.variants().values():
        pairs |= {(variant.recipe, override): None for override in variant.overrides}
    for recipe, override in pairs:
        tell_replacements(recipe, [override])
    out = arguments.out or f"runs/{Path(arguments.recipe).stem}-sweep"
    started = time.monotonic()
    outcomes = run_sweep(plan, out, launcher, progress=not arguments.quiet)
    print(outcome_table(outcomes, out))
    states = [outcome.state for outcome in outcomes.values()]
    ended = states.count("done") + states.count("there")
    before = f" ({states.count('there')} were there)" if "there" in states else ""
    said = f"{ended} of {len(states)} trials have ended{before}"
    if ended < len(states):
        print(failures(outcomes))
        raise RunError(
            f"{said}, {len(states) - ended} failed; once what stands above is repaired, "
            f"the same command runs what is missing"
        )
    print(f"done: {said} in {time.monotonic() - started:.0f} s; next: cotasp report {out}")


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The sweep file or recipe, with what the command line says of it.

    Raises:
        RecipeError: an argument does not fit, or the file cannot be used.
    """
    from cotasp.sweep.plan import axis_of, load_sweep, names_in, seeds_of

    plan = load_sweep(arguments.recipe)
    axes = dict(map(axis_of, arguments.axis))
    if len(axes) < len(arguments.axis):
        raise RecipeError("--axis: the same key stands twice; give it all its values at once")
    changes: dict[str, Any] = {"axes": {**plan.axes, **axes}}
    if plan.others:  # the command line has the last word, also where files have their own
        changes["others"] = {
            name: file._replace(overrides=[*file.overrides, *arguments.overrides])
            for name, file in plan.others.items()
        }
    else:
        changes["overrides"] = [*plan.overrides, *arguments.overrides]
    if arguments.seeds is not None:
        try:
            seeds = [int(seed) for seed in arguments.seeds.removesuffix(",").split(",")]
        except ValueError as error:
            raise RecipeError(
                f"--seeds: expected how many or a list, 5 or 3,7,8, got {arguments.seeds!r}"
            ) from error
        changes["seeds"] = seeds_of(seeds if "," in arguments.seeds else seeds[0], "--seeds")
    if arguments.only:
        changes["only"] = names_in(arguments.only, replace(plan, **changes).variants())
    if arguments.baseline:
        changes["baseline"] = arguments.baseline
        if arguments.baseline not in changes.get("only", [arguments.baseline]):
            raise RecipeError(
                f"--baseline: expected one of --only {arguments.only}, got {arguments.baseline!r}"
            )
    if arguments.single_tasks:
        changes["single_tasks"] = True
    return replace(plan, **changes)


def make_launcher(arguments: argparse.Namespace) -> Launcher:
    """The launcher by its name, with those options that are given.

    Raises:
        RecipeError: no such launcher, or it has no such option.
    """
    from cotasp.registry import KINDS
    from cotasp.schema import build, fields_of

    registry = KINDS["launcher"]
    known = fields_of(registry.get(arguments.launcher))
    settings = {
        name: getattr(arguments, name)
        for name in ("workers", "simulators", "address", "cpus", "gpus", "partition", "minutes")
        if getattr(arguments, name) is not None
    }
    for name in settings:
        if name not in known:
            raise RecipeError(f"--{name}: the launcher {arguments.launcher!r} has no such option")
    from cotasp.sweep.launchers import Launcher

    return build(Launcher, {"name": arguments.launcher, **settings}, "launcher")
