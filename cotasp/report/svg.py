"""Charts as SVG for the page: colours come from its style sheet, values are on hover and focus."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from cotasp.report.charts import Chart, Series, short_name
from cotasp.report.statistics import ROUNDING

WIDTH, HEIGHT = 440, 270
RIGHT, TOP, BOTTOM = 12, 12, 42
MARKS = 8  # shapes and colours


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two values, about five of them.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    raw = span / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number_text(value: float | None) -> str:
    """A value in a few digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _finite(values: Iterable[float | None]) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


class _Axes:
    """From values to pixels.

    Args:
        chart: what is drawn.
    """

    def __init__(self, chart: Chart) -> None:
        parts = chart.series
        xs = _finite(v for s in parts for v in (*s.x, *s.x_low, *s.x_high))
        ys = _finite(v for s in parts for v in (*s.y, *s.low, *s.high))
        xs += [edge for band in chart.bands for edge in band]
        if chart.categories:
            self.x0, self.x1 = -0.5, len(chart.categories) - 0.5
        elif chart.joined:  # a course of time starts at its beginning
            self.x0, self.x1 = min(0.0, *xs), max(xs)
        else:
            self.x0, self.x1 = _padded(xs)
        self.y0, self.y1 = chart.y_range or _padded(ys)
        widest = max((len(f"{v:,.10g}") for v in ticks(self.y0, self.y1)), default=1)
        self.left = 32 + 6 * max(3, widest)
        self.bottom = BOTTOM + (34 if _slanted(chart) else 0)
        self.height = HEIGHT + self.bottom - BOTTOM

    def x(self, value: float) -> float:
        span = self.x1 - self.x0 or 1.0
        return self.left + (value - self.x0) / span * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        span = self.y1 - self.y0 or 1.0
        return self.height - self.bottom - (value - self.y0) / span * (HEIGHT - TOP - BOTTOM)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low <= ROUNDING * max(abs(low), abs(high)):  # equal, but for how sums round
        low = high
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.1
    return low - pad, high + pad


def _slanted(chart: Chart) -> bool:
    return sum(len(name) + 2 for name in chart.categories) > 60


def marker(kind: int, x: float, y: float) -> str:
    """A mark of one of eight shapes, so that colour is never alone."""
    r = 4.2
    points = {
        1: [(-r, -r), (r, -r), (r, r), (-r, r)],
        2: [(0, -r * 1.2), (r * 1.1, r), (-r * 1.1, r)],
        3: [(0, -r * 1.3), (r * 1.3, 0), (0, r * 1.3), (-r * 1.3, 0)],
        4: [(-r * 1.1, -r), (r * 1.1, -r), (0, r * 1.2)],
        5: [(-r, -1.6), (r, -1.6), (r, 1.6), (-r, 1.6)],
        6: [(-1.6, -r), (1.6, -r), (1.6, r), (-1.6, r)],
    }.get(kind % MARKS)
    if points is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r if kind % MARKS == 0 else 2.4}"/>'
    path = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in points)
    return f'<polygon points="{path}"/>'


def draw(chart: Chart, names: Sequence[str], label: str) -> str:
    """An `<svg>` of a chart.

    Args:
        chart: what is drawn.
        names: variants in the order of their colours.
        label: what a screen reader says of it.
    """
    axes = _Axes(chart)
    body = [_grid(chart, axes)]
    for left, right in chart.bands:
        body.append(
            f'<rect class="band" x="{axes.x(left):.1f}" y="{TOP}" '
            f'width="{axes.x(right) - axes.x(left):.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
        )
    paint = _lines if chart.joined and not chart.categories else _dots
    body += [paint(chart, s, names.index(s.name), len(chart.series), axes) for s in chart.series]
    if paint is _lines:
        body.append(_strips(chart, axes))
    return frame(WIDTH, axes.height, label, body)


def frame(width: float, height: float, label: str, body: Sequence[str]) -> str:
    """An `<svg>` that says what it shows and takes the focus."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" tabindex="0" '
        f'aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def text_at(x: float, y: float, text: str, more: str = "") -> str:
    """A line of text; `more`: further attributes."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _grid(chart: Chart, axes: _Axes) -> str:
    """Axes, ticks, labels."""
    base = axes.height - axes.bottom
    parts = []
    for value in ticks(axes.y0, axes.y1):
        y = axes.y(value)
        parts.append(
            f'<line class="grid" x1="{axes.left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(text_at(axes.left - 7, y + 4, f"{value:,.10g}", 'text-anchor="end"'))
    if chart.categories:
        slanted = _slanted(chart)
        for i, name in enumerate(chart.categories):
            x = axes.x(i)
            short = short_name(name)
            turn = f'transform="rotate(-32 {x:.1f} {base + 14})" text-anchor="end"'
            parts.append(
                text_at(
                    x,
                    base + 14 + 3 * (not slanted),
                    short,
                    turn if slanted else "text-anchor='middle'",
                )
            )
    else:
        for value in ticks(axes.x0, axes.x1):
            parts.append(
                text_at(axes.x(value), base + 17, f"{value:,.10g}", 'text-anchor="middle"')
            )
    middle = (axes.left + WIDTH - RIGHT) / 2
    if chart.x_label:
        parts.append(
            text_at(middle, axes.height - 6, chart.x_label, 'class="label" text-anchor="middle"')
        )
    if chart.y_label:
        y = (TOP + base) / 2
        turn = f'class="label" text-anchor="middle" transform="rotate(-90 13 {y:.1f})"'
        parts.append(text_at(13, y, chart.y_label, turn))
    parts.append(
        f'<line class="axis" x1="{axes.left}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
    )
    return "".join(parts)


def _points(series: Series) -> list[int]:
    return [i for i, y in enumerate(series.y) if y is not None]


def _lines(chart: Chart, series: Series, kind: int, count: int, axes: _Axes) -> str:
    """A curve with its interval as a band."""
    points = _points(series)
    there = [i for i in points if series.low and series.low[i] is not None]

    def path(indices: Iterable[int], values: Sequence[float | None]) -> list[str]:
        return [f"{axes.x(series.x[i]):.1f},{axes.y(values[i] or 0.0):.1f}" for i in indices]

    parts = []
    if len(there) > 1:
        outline = path(there, series.low) + path(reversed(there), series.high)
        parts.append(f'<polygon class="interval" points="{" ".join(outline)}"/>')
    line = path(points, series.y)
    if len(line) > 1:
        parts.append(f'<polyline class="line" points="{" ".join(line)}"/>')
    if len(points) <= 12:
        parts += [marker(kind, axes.x(series.x[i]), axes.y(series.y[i] or 0.0)) for i in points]
    return f'<g class="s{kind % MARKS}">{"".join(parts)}</g>'


def _strips(chart: Chart, axes: _Axes) -> str:
    """One invisible strip per x, which holds all values there."""
    at: dict[float, list[str]] = {}
    for series in chart.series:
        for i in _points(series):
            at.setdefault(series.x[i], []).append(f"{series.name}: {_with_interval(series, i)}")
    xs = sorted(at)
    parts = []
    for i, x in enumerate(xs):
        left = axes.x((xs[i - 1] + x) / 2) if i else axes.left
        right = axes.x((xs[i + 1] + x) / 2) if i + 1 < len(xs) else WIDTH - RIGHT
        tip = "\n".join([f"{number_text(x)} {chart.x_label}", *at[x]])
        parts.append(
            f'<rect class="hit" x="{left:.1f}" y="{TOP}" width="{max(0.5, right - left):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" data-tip="{escape(tip)}"/>'
        )
    return "".join(parts)


def _with_interval(series: Series, i: int) -> str:
    text = number_text(series.y[i])
    if series.low and series.low[i] is not None:
        text += f" [{number_text(series.low[i])}, {number_text(series.high[i])}]"
    return f"≥ {text}, {series.remarks[i]}" if series.remarks and series.remarks[i] else text


def _dots(chart: Chart, series: Series, kind: int, count: int, axes: _Axes) -> str:
    """Marks with error bars; side by side within a category."""
    place = [s.name for s in chart.series].index(series.name)
    shift = 0.0
    if chart.categories and not chart.joined:
        room = (WIDTH - axes.left - RIGHT) / len(chart.categories)
        shift = (place - (count - 1) / 2) * min(16.0, 0.8 * room / count)
    parts = []
    if chart.categories and chart.joined:
        line = " ".join(
            f"{axes.x(series.x[i]):.1f},{axes.y(series.y[i] or 0.0):.1f}" for i in _points(series)
        )
        parts.append(f'<polyline class="line" points="{line}"/>')
    for i in _points(series):
        parts.append(_dot(chart, series, kind, i, shift, axes))
    return f'<g class="s{kind % MARKS}">{"".join(parts)}</g>'


def _dot(chart: Chart, series: Series, kind: int, i: int, shift: float, axes: _Axes) -> str:
    x, y = axes.x(series.x[i]) + shift, axes.y(series.y[i] or 0.0)
    bars, tip = [], [series.name]
    if chart.categories:
        tip.append(f"{chart.categories[int(series.x[i])]}: {_with_interval(series, i)}")
    else:
        tip += [
            f"{chart.x_label}: {number_text(series.x[i])}",
            f"{chart.y_label}: {number_text(series.y[i])}",
        ]
    for lows, highs, across in (
        (series.low, series.high, False),
        (series.x_low, series.x_high, True),
    ):
        if not lows or lows[i] is None:
            continue
        scale: Callable[[float], float] = axes.x if across else axes.y
        a, b = scale(lows[i] or 0.0), scale(highs[i] or 0.0)
        where = (
            f'x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            if across
            else f'x1="{x:.1f}" x2="{x:.1f}" y1="{a:.1f}" y2="{b:.1f}"'
        )
        bars.append(f'<line class="bar" {where}/>')
    shape = "".join([*bars, marker(kind, x, y)])
    return f'<g class="mark" data-tip="{escape(chr(10).join(tip))}">{shape}</g>'
