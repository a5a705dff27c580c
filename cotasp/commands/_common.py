"""What several verbs share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from cotasp.recipe import Recipe


def add_verb(subparsers: Any, name: str, help: str, epilog: str = "") -> argparse.ArgumentParser:
    """Adds a verb's parser, with the options that every verb has.

    Args:
        subparsers: of `argparse.ArgumentParser.add_subparsers`.
        name: the verb.
        help: one sentence, for both help pages.
        epilog: examples, for the verb's own page.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=help,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # it may stand before the verb, too: what was given there is kept
    parser.add_argument(
        "--debug", action="store_true", help="show tracebacks", default=argparse.SUPPRESS
    )
    return parser


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a recipe's file, its overrides and its seed."""
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a YAML file, or a shipped recipe by name, as quickstart"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="edits, e.g. dictionary.lmbda=1e-2 or dictionary.solver=fista",
    )
    parser.add_argument("--seed", type=int, help="replaces the recipe's seed")


def add_run_arguments(parser: argparse.ArgumentParser, threads: int | None, default: str) -> None:
    """Adds how a run is shown and on how many threads it runs.

    Args:
        parser: the verb's.
        threads: the default; None: known later.
        default: the same in words.
    """
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no recipe")
    parser.add_argument(
        "--threads", type=int, default=threads, metavar="N", help=f"of torch; default {default}"
    )


def add_recall_argument(parser: argparse.ArgumentParser) -> None:
    """Adds how the task that a sentence means is found."""
    parser.add_argument(
        "--recall",
        metavar="NAME",
        help="how the task that a sentence means is found, see `cotasp list recall`; default as in "
        "the recipe",
    )


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe that `add_recipe_arguments` asked for.

    Raises:
        RecipeError: it cannot be used.
    """
    from cotasp.recipe import load, with_seed

    recipe = with_seed(load(arguments.recipe, arguments.overrides), arguments.seed)
    tell_replacements(arguments.recipe, arguments.overrides)
    return recipe


def tell_replacements(recipe: str | Path, overrides: Sequence[str]) -> None:
    """Says on standard error which settings of a recipe the overrides drop."""
    from cotasp.recipe import replacements

    for override, gone in replacements(recipe, overrides).items():
        print(
            f"note: {override} replaces the component and its settings: {', '.join(gone)} of the "
            f"recipe no longer hold; set again what is to stay",
            file=sys.stderr,
        )


def set_threads(threads: int = 1) -> None:
    """Sets torch's threads, which imports it.

    Runs side by side want one thread each: with two each they wait for one another.

    Raises:
        RecipeError: fewer than one.
    """
    if threads < 1:
        raise RecipeError(f"--threads: expected at least 1, got {threads}")
    if threads > 1:
        from cotasp.sweep.launchers import cores

        if threads > (there := cores()):
            told = f"note: {threads} threads wait for one another on {there} processors"
            print(told, file=sys.stderr)
    import torch

    torch.set_num_threads(threads)


def print_result(out: str, threads: int) -> None:
    """Prints the summary of a run that has ended."""
    from cotasp.continual.table import summary_table
    from cotasp.storage.rundir import SUMMARY, RunDirectory

    directory = RunDirectory.open(out)
    summary, seconds = directory.results(), directory.seconds()
    print(summary_table(summary))
    p, f = (
        "-" if value is None else f"{value:.3f}"
        for value in (summary.get("performance"), summary.get("forgetting"))
    )
    print(
        f"done: {summary.get('steps', 0):,} steps in {'-' if seconds is None else f'{seconds:.0f}'}"
        f" s ({threads} thread{'s' if threads > 1 else ''}), P {p}, F {f}; see {out}/{SUMMARY}"
    )
    print(f"watch it: cotasp play {shlex.quote(str(out))} --all")
