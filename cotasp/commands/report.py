"""`cotasp report`."""

from __future__ import annotations

import argparse
from typing import Any

from cotasp.commands._common import add_verb

EPILOG = """examples:
  cotasp report runs/sweep                       tables and the page, in runs/sweep/report
  cotasp report runs/a-seed* runs/b-seed* --baseline update=frozen --out report
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Compare runs of any number of recipes: tables and a page."
    parser = add_verb(subparsers, "report", help, EPILOG)
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="run directories, or what holds them"
    )
    parser.add_argument("--out", help="directory of the report; default RUNS/report, or report")
    parser.add_argument("--baseline", metavar="VARIANT", help="what the others are compared with")
    add_report_arguments(parser)


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `report` and `compare` can both be asked for."""
    parser.add_argument(
        "--figures", action="store_true", help="write every figure as PNG and SVG too"
    )
    parser.add_argument(
        "--mix-protocols", action="store_true", help="allow runs of different protocols, and say so"
    )


def main(arguments: argparse.Namespace) -> None:
    """Writes tables and the page, and prints the results."""
    from cotasp.report.runs import read_runs
    from cotasp.report.study import make_study
    from cotasp.report.writing import PAGE, write_report
    from cotasp.storage.rundir import RunDirectory
    from cotasp.words import counted

    out = arguments.out or (f"{arguments.runs[0]}/report" if len(arguments.runs) == 1 else "report")
    RunDirectory.check_no_run(out)  # whose files have the names of the report's
    run_set = read_runs(arguments.runs)
    study = make_study(run_set, baseline=arguments.baseline, mix_protocols=arguments.mix_protocols)
    tables = write_report(study, out, figures=arguments.figures)
    print(next(table for table in tables if table.name == "results").markdown())
    runs = sum(len(variant.runs) for variant in study.variants)
    variants = counted(len(study.variants), "variant")
    print(f"done: {counted(runs, 'run')}, {variants}; see {out}/{PAGE}")
