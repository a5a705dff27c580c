"""`cotasp report`."""

from __future__ import annotations

import argparse

from cotasp.errors import RecipeError

EPILOG = """examples:
  cotasp report runs/sweep                       tables and the page, in runs/sweep/report
  cotasp report runs/a-seed* runs/b-seed* --baseline update=frozen --out report
  cotasp report --compare runs/a runs/b          what differs, and whether it matters
"""


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    sub.epilog, sub.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    sub.add_argument("runs", nargs="*", metavar="RUNS", help="run directories, or what holds them")
    sub.add_argument("--out", help="directory of the report; default RUNS/report, or report")
    sub.add_argument("--baseline", metavar="VARIANT", help="what the others are compared with")
    sub.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two sets of runs")
    sub.add_argument("--figures", action="store_true", help="write every figure as PNG and SVG too")
    sub.add_argument(
        "--mix-protocols", action="store_true", help="allow runs of different protocols, and say so"
    )


def report(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if bool(arguments.runs) == bool(arguments.compare):
        raise RecipeError("report: name run directories, or two of them after --compare")
    if arguments.compare and arguments.baseline:
        raise RecipeError("--baseline: with --compare A B the baseline is A; leave --baseline out")
    if arguments.compare and arguments.figures and not arguments.out:
        raise RecipeError("--figures: --compare writes files only where --out names a directory")
    if arguments.compare:
        _compare(arguments)
        return
    from cotasp.report.runs import read_runs
    from cotasp.report.study import make_study
    from cotasp.report.writing import PAGE, write_report
    from cotasp.words import counted

    out = arguments.out or (f"{arguments.runs[0]}/report" if len(arguments.runs) == 1 else "report")
    found = read_runs(arguments.runs)
    study = make_study(found, baseline=arguments.baseline, mix_protocols=arguments.mix_protocols)
    tables = write_report(study, out, figures=arguments.figures)
    print(next(table for table in tables if table.name == "results").markdown())
    runs = sum(len(variant.runs) for variant in study.variants)
    variants = counted(len(study.variants), "variant")
    print(f"done: {counted(runs, 'run')}, {variants}; see {out}/{PAGE}")


def _compare(arguments: argparse.Namespace) -> None:
    from cotasp.report.compare import TOO_FEW, compared, comparison_table
    from cotasp.report.results import difference_table
    from cotasp.report.writing import write_report, write_tables

    study = compared(*arguments.compare, mix_protocols=arguments.mix_protocols)
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
