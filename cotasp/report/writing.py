"""A report's files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from cotasp.errors import RunError
from cotasp.report.charts import (
    Chart,
    Figure,
    Heat,
    aggregates,
    dictionaries,
    plane,
    similarities,
    threshold,
)
from cotasp.report.curves import return_curves, success_curves, training_returns
from cotasp.report.marginals import marginal_table
from cotasp.report.page import render
from cotasp.report.results import (
    cost_table,
    dictionary_table,
    difference_table,
    metric_table,
    result_table,
    task_table,
)
from cotasp.report.study import Study
from cotasp.report.tables import Table

PAGE = "index.html"
TABLES = (
    *("recipes", "results", "axes", "metrics", "tasks", "dictionaries", "cost"),
    "comparison",  # of `cotasp compare`
)
_ENDINGS = ("md", "csv", "tex")
FIGURES = (
    *("aggregates", "success", "returns", "plane", "threshold", "similarity", "dictionaries"),
    "training",
)


def write_tables(tables: Sequence[Table], out: str | Path) -> None:
    """Each table as Markdown, CSV and LaTeX.

    Raises:
        RunError: the files cannot be written.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in tables:
            texts = (table.markdown(), table.csv(), table.latex())
            for ending, text in zip(_ENDINGS, texts):
                (folder / f"{table.name}.{ending}").write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder}: cannot write the report: {error.strerror}") from error


def write_report(study: Study, out: str | Path, *, figures: bool = False) -> list[Table]:
    """Writes tables, the page and, if asked for, every figure as PNG and SVG.

    Args:
        study: what it is about.
        out: a directory; files of an earlier report are overwritten, or removed where this one has
            no such table or figure.
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
        _remove(Path(out), {*TABLES} - {table.name for table in tables}, _ENDINGS)
        kept = {figure.name for figure in drawn} if figures else set()
        _remove(Path(out) / "figures", {*FIGURES} - kept, ("png", "svg"))
        (Path(out) / PAGE).write_text(render(study, tables, drawn), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{out}: cannot write the report: {error.strerror}") from error
    if figures:
        from cotasp.report.images import save_figures

        save_figures(drawn, study, Path(out) / "figures")
    return tables


def _remove(folder: Path, names: Collection[str], endings: Collection[str]) -> None:
    """Removes what an earlier report has written: files of a name with all of the endings."""
    for name in names:
        files = [folder / f"{name}.{ending}" for ending in endings]
        if all(file.is_file() for file in files):
            for file in files:
                file.unlink()


def all_tables(study: Study) -> list[Table]:
    """Every table of a report, in order."""
    makers = (
        difference_table,
        result_table,
        marginal_table,
        metric_table,
        task_table,
        dictionary_table,
        cost_table,
    )
    tables = (make(study) for make in makers)
    return [replace(table, missing=study.problems) for table in tables if table is not None]


def report_figures(study: Study) -> list[Figure]:
    """Every figure of a report that there are values for, in order."""
    makers = (
        aggregates,
        success_curves,
        return_curves,
        plane,
        threshold,
        similarities,
        dictionaries,
        training_returns,
    )
    figures = [make(study) for make in makers]
    return [figure for figure in figures if any(_has_values(chart) for chart in figure.charts)]


def _has_values(chart: Chart | Heat) -> bool:
    return isinstance(chart, Heat) or any(v is not None for s in chart.series for v in s.y)
