"""Matrices as SVG for the page."""

from __future__ import annotations

import math
from html import escape

from cotasp.report.charts import Heat, short_name
from cotasp.report.svg import frame, text_at


def draw_heat(chart: Heat, label: str) -> str:
    """An `<svg>` of a matrix; opacity is the value, so that it reads in light and dark.

    Args:
        chart: what is drawn; up to ten tasks, the numbers stand in the cells.
        label: what a screen reader says of it.
    """
    count = len(chart.labels)
    left, size = 110, 300 / max(1, count)
    parts = []
    for i, name in enumerate(chart.labels):
        short = short_name(name, 17)
        middle = (i + 0.5) * size
        parts.append(text_at(left - 6, 8 + middle + 4, short, 'text-anchor="end"'))
        x, y = left + middle, 8 + 300 + 12
        parts.append(
            text_at(x, y, short, f'text-anchor="end" transform="rotate(-40 {x:.1f} {y:.1f})"')
        )
    for i, row in enumerate(chart.values):
        for j, value in enumerate(row):
            known = math.isfinite(value)
            tip = f"{chart.labels[i]} × {chart.labels[j]}: {f'{value:.2f}' if known else '-'}"  # noqa: RUF001
            parts.append(
                f'<rect class="cell" x="{left + j * size:.1f}" y="{8 + i * size:.1f}" '
                f'width="{size - 1:.1f}" height="{size - 1:.1f}" '
                f'fill-opacity="{min(1.0, max(0.0, value)) if known else 0:.2f}" '
                f'data-tip="{escape(tip)}"/>'
            )
            if known and count <= 10:
                strong = " strong" if value > 0.55 else ""
                parts.append(
                    text_at(
                        left + (j + 0.5) * size,
                        8 + (i + 0.5) * size + 4,
                        f"{value:.2f}".removeprefix("0") if value < 1 else "1",
                        f'class="number{strong}" text-anchor="middle"',
                    )
                )
    return frame(left + 310, 8 + 300 + 90, label, parts)
