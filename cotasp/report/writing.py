"""A report's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cotasp.errors import RunError
from cotasp.report.charts import Figure, all_figures
from cotasp.report.page import render
from cotasp.report.results import all_tables
from cotasp.report.returns import training_returns
from cotasp.report.study import Study
from cotasp.report.tables import Table

PAGE = "index.html"


def write_tables(tables: Sequence[Table], out: str | Path) -> None:
    """Each table as Markdown, CSV and LaTeX.

    Raises:
        RunError: the files cannot be written.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in tables:
            for ending, text in (
                ("md", table.markdown()),
                ("csv", table.csv()),
                ("tex", table.latex()),
            ):
                (folder / f"{table.name}.{ending}").write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: cannot write the report: {error.strerror}") from error


def write_report(study: Study, out: str | Path, *, figures: bool = False) -> list[Table]:
    """Writes tables, the page and, if asked for, every figure as PNG and SVG.

    Args:
        study: what it is about.
        out: a directory; files of an earlier report are overwritten.
        figures: whether to write image files, which needs matplotlib.

    Returns:
        the tables.

    Raises:
        RecipeError: figures are asked for without matplotlib.
        RunError: the files cannot be written.
    """
    if figures:
        from cotasp.report.images import check_matplotlib

        check_matplotlib()
    tables, drawn = all_tables(study), report_figures(study)
    write_tables(tables, out)
    try:
        (Path(out) / PAGE).write_text(render(study, tables, drawn), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{out}: cannot write the report: {error.strerror}") from error
    if figures:
        from cotasp.report.images import save_figures

        save_figures(drawn, study, Path(out) / "figures")
    return tables


def report_figures(study: Study) -> list[Figure]:
    """Every figure of a report that there are values for, in order."""
    returns = training_returns(study)
    return [*all_figures(study), *([] if returns is None else [returns])]
