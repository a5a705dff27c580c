"""The command line."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cotasp import __version__
from cotasp.errors import CotaspError, RecipeError, RunStopped

LONGEST = 1000  # characters of an error that are shown
EPILOG = """examples:
  cotasp run recipes/smoke.yaml                      learn a toy stream, in seconds
  cotasp run recipes/cotasp_cw10.yaml --seed 3       another seed
  cotasp run recipes/cotasp_cw10.yaml dictionary.solver=fista mask.gradient=identity
  cotasp resume runs/smoke-seed0                     go on with a run that was stopped
  cotasp run recipes/cotasp_cw20.yaml --from runs/cotasp_cw10-seed0@10
  cotasp show recipes/smoke.yaml dictionary.lmbda=1e-2
  cotasp list solver
  cotasp evaluate runs/smoke-seed0
  cotasp export runs/smoke-seed0 --task right --out right.pt2
  cotasp sweep recipes/smoke.yaml --axis dictionary.update=online,anchored --seeds 5
  cotasp report runs/smoke-sweep
"""


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> Any:
        raise RecipeError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    top = _Parser(
        prog="cotasp",
        description="Continual reinforcement learning with sparse-prompted sub-networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"cotasp {__version__}")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], None], help: str):
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(action=action)
        sub.add_argument(
            "--debug", action="store_true", help="show tracebacks", default=argparse.SUPPRESS
        )
        return sub

    run = command("run", _run, "Learn a recipe's stream and write a run directory.")
    _recipe_arguments(run)
    run.add_argument("--out", help="run directory; default runs/<recipe>-seed<seed>")
    _run_arguments(run, 1, "1; 2 is a little faster alone, far slower beside others")
    run.add_argument(
        "--from",
        dest="source",
        metavar="DIR@TASK",
        help="begin after a task of another run: its name, or how many had finished",
    )
    run.add_argument(
        "--baseline",
        nargs="+",
        default=[],
        metavar="DIR",
        help="run directories of single-task runs, for forward transfer",
    )

    resume = command("resume", _resume, "Go on with a run that was stopped, from its checkpoint.")
    resume.add_argument("dir", metavar="DIR", help="run directory")
    _run_arguments(resume, None, "as the run began, for with others sums round otherwise")

    show = command("show", _show, "Print a recipe with every default, without running it.")
    _recipe_arguments(show)

    list_ = command("list", _list, "List the components that recipes can name.")
    list_.add_argument("kind", nargs="?", help="encoder, solver, ...; shows their fields too")

    evaluate = command("evaluate", _evaluate, "Evaluate every task of a run from its checkpoint.")
    evaluate.add_argument("dir", metavar="DIR", help="run directory")
    evaluate.add_argument("--episodes", type=int, help="episodes per task")
    evaluate.add_argument("--mode", choices=["deterministic", "stochastic"], help="of acting")

    export = command("export", _export, "Write a task's policy for use without this package.")
    export.add_argument("dir", metavar="DIR", help="run directory")
    export.add_argument("--task", required=True, metavar="NAME", help="as in the run's table")
    export.add_argument("--out", required=True, metavar="FILE", help="NAME.pt2 or NAME.onnx")

    from cotasp.commands import prompt
    from cotasp.report import command as report
    from cotasp.sweep import command as sweep

    prompt.add_arguments(commands)
    sweep.add_arguments(command("sweep", sweep.sweep, "Run a recipe's variants with many seeds."))
    report.add_arguments(command("report", report.report, "Compare runs: tables and a page."))
    return top


def _recipe_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("recipe", metavar="RECIPE", help="a YAML file")
    sub.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="edits, e.g. dictionary.lmbda=1e-2 or dictionary.solver=fista",
    )
    sub.add_argument("--seed", type=int, help="replaces the recipe's seed")


def _run_arguments(sub: argparse.ArgumentParser, threads: int | None, which: str) -> None:
    sub.add_argument("--quiet", action="store_true", help="no progress bar, no recipe")
    told = f"of torch; default {which}"
    sub.add_argument("--threads", type=int, default=threads, metavar="N", help=told)


def _recipe(arguments: argparse.Namespace) -> Any:
    from cotasp.recipe import load, with_seed

    return with_seed(load(arguments.recipe, arguments.overrides), arguments.seed)


def _show(arguments: argparse.Namespace) -> None:
    from cotasp.recipe import dump

    print(dump(_recipe(arguments)), end="")


def _list(arguments: argparse.Namespace) -> None:
    from cotasp.registry import KINDS, suggest
    from cotasp.schema import signature

    if arguments.kind is not None and arguments.kind not in KINDS:
        raise RecipeError(f"unknown kind {arguments.kind!r}. {suggest(arguments.kind, KINDS)}")
    for kind in [arguments.kind] if arguments.kind else KINDS:
        registry = KINDS[kind]
        print(f"{kind}:")
        for name in registry.names():
            print(f"  {name:<14} {registry.describe(name)}")
            if arguments.kind and registry.location(name).startswith("cotasp."):
                for field in signature(registry.get(name)):
                    print(f"  {'':<16} {field}")


def _run(arguments: argparse.Namespace) -> None:
    from cotasp.recipe import dump
    from cotasp.storage.rundir import RunDirectory

    recipe = _recipe(arguments)
    out = arguments.out or f"runs/{Path(arguments.recipe).stem}-seed{recipe.seed}"
    RunDirectory.check_free(out)
    if not arguments.quiet:
        print(f"# recipe, every default written out; kept in {out}/recipe.yaml")
        print(dump(recipe), flush=True)
    _prepare_process(arguments.threads)
    from cotasp.continual.loop import run
    from cotasp.continual.protocol import protocol_stamp
    from cotasp.continual.saved import baseline_auc

    baseline = baseline_auc(arguments.baseline, protocol_stamp(recipe))
    run(recipe, out, baseline=baseline, source=arguments.source, progress=not arguments.quiet)
    _print_result(out, arguments.threads)


def _resume(arguments: argparse.Namespace) -> None:
    from cotasp.storage.rundir import RunDirectory

    directory = RunDirectory.open(arguments.dir)
    threads = directory.threads() if arguments.threads is None else arguments.threads
    _prepare_process(threads)
    from cotasp.continual.loop import resume

    if directory.summary() is not None:
        print(f"{arguments.dir}: this run has ended; there is nothing to go on with")
    resume(arguments.dir, progress=not arguments.quiet)
    _print_result(arguments.dir, threads)


def _print_result(out: str, threads: int) -> None:
    from cotasp.continual.table import summary_table
    from cotasp.storage.rundir import SUMMARY, TIMING, RunDirectory

    directory = RunDirectory.open(out)
    summary, seconds = directory.read(SUMMARY), directory.read(TIMING)["wall_seconds"]
    print(summary_table(summary))
    print(
        f"done: {summary['steps']:,} steps in {seconds:.0f} s "
        f"({threads} thread{'s' if threads > 1 else ''}), "
        f"P {summary['performance']:.3f}, F {summary['forgetting']:.3f}; see {out}/{SUMMARY}"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from cotasp.storage.rundir import RunDirectory

    RunDirectory.open(arguments.dir)  # what is wrong here is told before torch is imported
    _prepare_process()
    from cotasp.continual.saved import evaluate_run

    scores = evaluate_run(arguments.dir, episodes=arguments.episodes, mode=arguments.mode)
    width = max(map(len, scores))
    print(f"{'task':<{width}}  success  return  steps")
    for name, score in scores.items():
        print(
            f"{name:<{width}}  {score.success:7.2f}  {score.episode_return:6.1f}"
            f"  {score.episode_length:5.0f}"
        )
    mean = sum(score.success for score in scores.values()) / len(scores)
    print(f"done: mean success {mean:.3f} over {len(scores)} tasks")


def _export(arguments: argparse.Namespace) -> None:
    from cotasp.storage.rundir import RunDirectory

    RunDirectory.open(arguments.dir)
    _prepare_process()
    from cotasp.continual.saved import export_run

    network, task = export_run(arguments.dir, arguments.task, arguments.out)
    size = Path(arguments.out).stat().st_size / 1e3
    print(
        f"done: {arguments.out}, {size:,.0f} kB; hidden layers of {list(network.hidden)}, "
        f"observation [n, {network.body.in_features}] to action [n, {network.action_dim}]"
        + f", each held for {task.action_repeat} steps"
        * (task.action_repeat > 1)
    )


def _prepare_process(threads: int = 1) -> None:
    """Sets torch's threads.

    Runs side by side want one thread each: with two each they wait for one another.
    """
    if threads < 1:
        raise RecipeError(f"--threads: expected at least 1, got {threads}")
    import torch

    torch.set_num_threads(threads)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    # argparse ends a list of positionals at the first option: take up what stands behind it
    if rest and (not hasattr(arguments, "overrides") or any(r.startswith("-") for r in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    return arguments


def _fail(error: Exception) -> int:
    """Prints an error in one line; returns its exit code."""
    known = isinstance(error, CotaspError)
    message = str(error) if known else f"{type(error).__name__}: {error} (rerun with --debug)"
    line = " ".join(message.split())
    shown = line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."
    print(f"cotasp: error: {shown}", file=sys.stderr)
    return 2 if isinstance(error, RecipeError) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    0: all went well; 1: a run failed; 2: a recipe or an argument cannot be used; 130: Ctrl-C;
    143: SIGTERM.
    """
    try:
        arguments = _arguments(argv)
    except RecipeError as error:
        return _fail(error)
    usual = warnings.formatwarning
    if not arguments.debug:
        warnings.formatwarning = lambda message, *rest, **more: f"cotasp: warning: {message}\n"
    try:
        arguments.action(arguments)
        sys.stdout.flush()
    except RunStopped as stopped:
        print(f"cotasp: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("cotasp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `cotasp list | head`
        sys.stdout = None  # else Python complains when it flushes
        return 1
    except Exception as error:
        if arguments.debug:
            raise
        return _fail(error)
    finally:
        warnings.formatwarning = usual
    return 0


if __name__ == "__main__":
    sys.exit(main())
