"""The HTML page: one file, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from cotasp import __version__
from cotasp.report.charts import Chart, Figure, Heat, chart_variants
from cotasp.report.heat import draw_heat
from cotasp.report.study import Study
from cotasp.report.svg import draw, marker, number_text
from cotasp.report.tables import Table
from cotasp.words import counted

SECTIONS = {
    "recipes": "Recipes",
    "results": "Results",
    "axes": "Axes",
    "metrics": "Every metric",
    "aggregates": "Aggregates",
    "success": "Success",
    "returns": "Returns",
    "training": "Returns of training",
    "plane": "Plane",
    "threshold": "Steps to threshold",
    "tasks": "Tasks",
    "similarity": "Similarity",
    "dictionaries": "Dictionaries",
    "cost": "Cost",
}


def render(study: Study, tables: Sequence[Table], figures: Sequence[Figure]) -> str:
    """The page.

    Args:
        study: what it is about.
        tables, figures: its parts; a table and a figure of one name share a section.
    """
    names = [variant.name for variant in chart_variants(study)]
    parts: dict[str, list[str]] = {name: [] for name in SECTIONS}
    for figure in figures:
        parts.setdefault(figure.name, []).append(_figure(figure, names))
    for table in tables:
        parts.setdefault(table.name, []).append(_table(table))
    parts = {name: body for name, body in parts.items() if body}
    links = "".join(
        f'<li><a href="#{name}">{escape(SECTIONS.get(name, name))}</a></li>' for name in parts
    )
    sections = "".join(
        f'<section id="{name}" aria-label="{escape(SECTIONS.get(name, name))}">'
        f"{''.join(body)}</section>"
        for name, body in parts.items()
    )
    title = study.question or "Continual learning: a comparison of runs"
    folder = files("cotasp.report")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,">'
        f"<style>{folder.joinpath('page.css').read_text(encoding='utf-8')}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{_facts(study)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
        f"<main>{_notice(study)}{sections}</main>"
        f"<footer>Made by cotasp {__version__} from run directories alone. "
        f"{escape(_versions(study))}</footer>"
        '<div id="tip" role="status" aria-live="polite" hidden></div>'
        f"<script>{folder.joinpath('page.js').read_text(encoding='utf-8')}</script>"
        "</body></html>\n"
    )


def _facts(study: Study) -> str:
    runs = sum(len(v.runs) for v in study.variants)
    facts = [counted(runs, "run"), counted(len(study.variants), "variant")]
    seeds = sorted({seed for v in study.variants for seed in v.seeds})
    facts.append(f"seeds {', '.join(map(str, seeds[:12]))}{' …' if len(seeds) > 12 else ''}")
    facts += [f"protocol {key}" for key in study.protocols]
    if study.baseline:
        facts.append(f"baseline {study.variants[0].name}")
    return f'<ul class="facts">{"".join(f"<li>{escape(f)}</li>" for f in facts)}</ul>'


def _notice(study: Study) -> str:
    notes = list(study.problems)
    if study.mixed:
        notes.insert(0, "Protocols are mixed: variants of different stamps cannot be compared.")
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="notice" id="notes" aria-label="Notes"><ul>{items}</ul></section>'


def _versions(study: Study) -> str:
    versions = study.variants[0].runs[0].summary.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _table(table: Table) -> str:
    """A table whose columns can be sorted."""
    words = [
        any(row[i].text[:1].isalpha() and not row[i].numbers for row in table.rows)
        for i in range(len(table.columns))
    ]
    kinds = [' class="word"' * is_word for is_word in words]
    head = "".join(
        f'<th scope="col" aria-sort="none"{kind}><button type="button">{escape(c)}</button></th>'
        for c, kind in zip(table.columns, kinds)
    )
    rows = []
    for row in table.rows:
        cells = [f'<th scope="row">{escape(row[0].text)}</th>']
        for cell, kind in zip(row[1:], kinds[1:]):
            value = "" if cell.value is None else f' data-value="{_number(cell.value)}"'
            text, bracket, ends = cell.text.partition(" [")
            small = f"<small> {escape(bracket.strip() + ends)}</small>" if bracket else ""
            cells.append(f"<td{kind}{value}>{escape(text)}{small}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}">'
        f"<table><caption>{escape(table.caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="more" aria-hidden="true" hidden></p>'
        f'<ul class="notes">{notes}</ul>'
    )


def _number(value: float) -> str:
    """A number as JavaScript reads it."""
    return f"{value:.6g}".replace("inf", "Infinity")


def _figure(figure: Figure, names: Sequence[str]) -> str:
    heat = any(isinstance(chart, Heat) for chart in figure.charts)
    legend = "" if heat else _legend(names)
    charts = "".join(
        f"<figure>{f'<h3>{escape(chart.title)}</h3>' if chart.title else ''}"
        f"{_drawing(figure, chart, names)}</figure>"
        for chart in figure.charts
    )
    kind = " pairs" if heat else " wide" if len(figure.charts) == 1 else ""
    return (
        f"<h2>{escape(figure.title)}</h2><p class='soft'>{escape(figure.text)}</p>{legend}"
        f'<div class="charts{kind}">{charts}</div>'
    )


def _drawing(figure: Figure, chart: Chart | Heat, names: Sequence[str]) -> str:
    label = _alternative(figure, chart)
    return draw_heat(chart, label) if isinstance(chart, Heat) else draw(chart, names, label)


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><svg viewBox="-6 -6 12 12" class="s{i}" aria-hidden="true">{marker(i, 0, 0)}</svg>'
        f"{escape(name)}</li>"
        for i, name in enumerate(names)
    )
    return f'<ul class="legend" aria-label="Legend">{items}</ul>'


def _alternative(figure: Figure, chart: Chart | Heat) -> str:
    """What stands for a figure where it cannot be seen."""
    title = f"{figure.title}{', ' + chart.title if chart.title else ''}. "
    if isinstance(chart, Heat):
        return f"{title}Matrix of {len(chart.labels)} tasks; arrow keys read the values."
    ends = []
    for series in chart.series:
        values = [v for v in series.y if v is not None]
        if values:
            ends.append(f"{series.name} {number_text(values[-1])}")
    what = "last values" if chart.joined or len(chart.categories) > 2 else "values"
    return f"{title}{what}: {', '.join(ends)}. Arrow keys read all values."
