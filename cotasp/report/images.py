"""Figures as PNG and SVG files, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cotasp.errors import RecipeError
from cotasp.report.charts import Chart, Figure, Heat, Series, chart_variants, short_name
from cotasp.report.study import Study

COLOURS = (
    "#0a5fb4",
    "#c2410c",
    "#04785a",
    "#a8508a",
    "#946200",
    "#2b8fc7",
    "#5b3fa8",
    "#59616a",
)
WIDEST = 40  # letters of a title or a legend's entry, which axes would give way to
MARKERS, DASHES = "os^DvPX*", ("-", "--", ":", "-.", "--", "-", ":", "-.")


def check_matplotlib() -> None:
    """Raises RecipeError where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise RecipeError(
            '--figures: matplotlib is not installed; pip install "cotasp[report]", '
            "or leave --figures out: the page draws its figures itself"
        )


def save_figures(figures: Sequence[Figure], study: Study, folder: Path) -> None:
    """Writes `<name>.png` and `<name>.svg` of each figure.

    Args:
        figures: what to draw.
        study: its variants decide the colours.
        folder: made where it is missing.
    """
    from matplotlib.figure import Figure as Canvas

    folder.mkdir(parents=True, exist_ok=True)
    names = [variant.name for variant in chart_variants(study)]
    for figure in figures:
        columns = min(3, len(figure.charts))
        rows = -(-len(figure.charts) // columns)
        canvas = Canvas(figsize=(4.6 * columns, 3.4 * rows + 0.5), layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis, chart in zip(axes, figure.charts):
            if isinstance(chart, Heat):
                _heat(axis, chart)
            else:
                _chart(axis, chart, names)
        for axis in axes[len(figure.charts) :]:
            axis.set_axis_off()
        handles = {h.get_label(): h for a in axes for h in a.get_legend_handles_labels()[0]}
        if handles:
            told = [_plain(label, WIDEST) for label in handles]
            canvas.legend(
                handles.values(), told, loc="outside lower center", ncols=4, frameon=False
            )
        for ending in ("png", "svg"):
            canvas.savefig(folder / f"{figure.name}.{ending}", dpi=150)


def _heat(axis: Any, chart: Heat) -> None:
    axis.imshow(chart.values, vmin=0, vmax=1, cmap="Blues")
    places, labels = range(len(chart.labels)), [_plain(name) for name in chart.labels]
    axis.set_xticks(places, labels, rotation=45, ha="right", fontsize=7)
    axis.set_yticks(places, labels, fontsize=7)
    axis.set_title(_plain(chart.title, WIDEST), fontsize=9)


def _plain(name: str, most: int = 18) -> str:
    """A name, cut where it is long; a `$` in it begins no formula."""
    return short_name(name, most).replace("$", r"\$")


def _chart(axis: Any, chart: Chart, names: Sequence[str]) -> None:
    for left, right in chart.bands:
        axis.axvspan(left, right, color="#0a5fb4", alpha=0.08, lw=0)
    for place, series in enumerate(chart.series):
        _series(axis, chart, series, names.index(series.name), place)
    if chart.categories:
        labels = [_plain(name) for name in chart.categories]
        axis.set_xticks(range(len(labels)), labels, rotation=25, ha="right", fontsize=8)
    if chart.y_range:
        axis.set_ylim(chart.y_range[0] - 0.03, chart.y_range[1] + 0.03)
    axis.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axis.set_title(_plain(chart.title, WIDEST), fontsize=10)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _series(axis: Any, chart: Chart, series: Series, kind: int, place: int) -> None:
    points = [i for i, y in enumerate(series.y) if y is not None]
    shift = 0.0
    if chart.categories and not chart.joined:
        shift = (place - (len(chart.series) - 1) / 2) * 0.8 / len(chart.series)
    x = [series.x[i] + shift for i in points]
    y = [series.y[i] for i in points]
    colour = COLOURS[kind % len(COLOURS)]
    style: dict[str, Any] = {"color": colour, "label": series.name}
    if chart.joined and not chart.categories:
        axis.plot(x, y, DASHES[kind % len(DASHES)], **style)
        low, high = ([_number(ends[i]) for i in points] for ends in (series.low, series.high))
        axis.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
        return
    line = DASHES[kind % len(DASHES)] if chart.joined else "none"
    axis.errorbar(
        x,
        y,
        yerr=_bars(y, series.low, series.high, points),
        xerr=_bars(x, series.x_low, series.x_high, points),
        marker=MARKERS[kind % len(MARKERS)],
        ls=line,
        capsize=2,
        **style,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _bars(
    centre: Sequence[Any], low: Sequence[Any], high: Sequence[Any], points: Sequence[int]
) -> list[list[float]] | None:
    """Lengths of error bars downward and upward; None where there are none."""
    if not low or any(low[i] is None for i in points):
        return None
    down = [max(0.0, c - low[i]) for c, i in zip(centre, points)]
    return [down, [max(0.0, high[i] - c) for c, i in zip(centre, points)]]
