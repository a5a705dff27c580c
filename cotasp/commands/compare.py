"""`cotasp compare`."""

from __future__ import annotations

import argparse
from typing import Any

from cotasp.commands._common import add_verb
from cotasp.commands.report import add_report_arguments
from cotasp.errors import RecipeError

EPILOG = """examples:
  cotasp compare runs/a runs/b                   what differs, and whether it matters
  cotasp compare runs/a runs/b --out report      as a page and tables, too
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Say in what two recipes differ, and whether it matters."
    parser = add_verb(subparsers, "compare", help, EPILOG)
    parser.add_argument("first", metavar="A", help="runs of one recipe, the baseline")
    parser.add_argument("second", metavar="B", help="runs of another")
    parser.add_argument("--out", help="directory of tables and a page; default: none are written")
    add_report_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Prints in what the recipes differ, their metrics and a verdict."""
    if arguments.figures and not arguments.out:
        raise RecipeError("--figures: compare writes files only where --out names a directory")
    from cotasp.report.compare import TOO_FEW, comparison, comparison_table
    from cotasp.report.results import difference_table
    from cotasp.report.writing import write_report, write_tables
    from cotasp.storage.rundir import RunDirectory

    if arguments.out:
        RunDirectory.check_no_run(arguments.out)
    study = comparison(arguments.first, arguments.second, mix_protocols=arguments.mix_protocols)
    table = comparison_table(study)
    print(difference_table(study).markdown())
    print(table.markdown())
    for problem in study.problems:
        print(f"note: {problem}")
    if arguments.out:
        write_report(study, arguments.out, figures=arguments.figures)
        write_tables([table], arguments.out)
    verdicts = {row[0].text: row[-1].text for row in table.rows if row[-1].text != "-"}
    words = [f"{metric} {verdict}" for metric, verdict in verdicts.items()]
    print(f"done: {TOO_FEW if set(verdicts.values()) == {TOO_FEW} else '; '.join(words)}")
