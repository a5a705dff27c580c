"""`cotasp run`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotasp.commands._common import (
    add_recipe_arguments,
    add_run_arguments,
    add_verb,
    print_result,
    read_recipe,
    set_threads,
)

EPILOG = """examples:
  cotasp run recipes/smoke.yaml                      learn a toy stream, in seconds
  cotasp run recipes/cotasp_cw10.yaml --seed 3       another seed
  cotasp run recipes/cotasp_cw10.yaml dictionary.solver=fista mask.gradient=identity
  cotasp run recipes/cotasp_cw20.yaml --from runs/cotasp_cw10-seed0@10
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Learn a recipe's stream and write a run directory."
    parser = add_verb(subparsers, "run", help, EPILOG)
    add_recipe_arguments(parser)
    parser.add_argument("--out", help="run directory; default runs/<recipe>-seed<seed>")
    add_run_arguments(parser, 1, "1; 2 is a little faster alone, far slower beside others")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR@TASK",
        help="begin after a task of another run: its name, or how many had finished",
    )
    parser.add_argument(
        "--baseline",
        nargs="+",
        default=[],
        metavar="DIR",
        help="run directories of single-task runs, for forward transfer",
    )


def main(arguments: argparse.Namespace) -> None:
    """Learns the recipe's stream."""
    from cotasp.continual.machine import check_logger
    from cotasp.recipe import dump
    from cotasp.storage.rundir import RunDirectory

    recipe = read_recipe(arguments)
    check_logger(recipe)  # before torch is imported, as all that can be
    out = arguments.out or f"runs/{Path(arguments.recipe).stem}-seed{recipe.seed}"
    RunDirectory.check_free(out)
    if not arguments.quiet:
        print(f"# recipe, every default written out; kept in {out}/recipe.yaml")
        print(dump(recipe), flush=True)
    set_threads(arguments.threads)
    from cotasp.continual.loop import run
    from cotasp.continual.protocol import protocol_stamp
    from cotasp.continual.saved import baseline_auc

    baseline = baseline_auc(arguments.baseline, protocol_stamp(recipe))
    run(recipe, out, baseline=baseline, source=arguments.source, progress=not arguments.quiet)
    print_result(out, arguments.threads)
