"""What the figures show, as data: drawn as SVG in the page and by matplotlib into files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cotasp.continual.metrics import METRICS
from cotasp.report.notes import transfer_notes
from cotasp.report.results import fact_scores
from cotasp.report.statistics import Estimate, estimate, interquartile_mean, mean
from cotasp.report.study import HEADLINE, Study, Variant

DRAWN = 8  # variants in one figure: as many as there are colours that all eyes can tell apart


@dataclass(frozen=True)
class Series:
    """One variant's values.

    Args:
        name: of the variant.
        x: positions; of a category, its number.
        y: values, None where there is none.
        low, high: ends of intervals, as `y`.
        x_low, x_high: the same across, empty where there are none.
        remarks: what is said of each value beside its number; empty: nothing.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    x_low: Sequence[float | None] = ()
    x_high: Sequence[float | None] = ()
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Args:
        title: above it.
        x_label, y_label: of the axes, with units.
        series: what is drawn; its name decides colour and marker.
        categories: names of the places on the x axis; empty for a numeric one.
        joined: whether points are joined by a line.
        y_range: least and greatest value shown, or None.
        bands: shaded spans of x.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    categories: Sequence[str] = ()
    joined: bool = True
    y_range: tuple[float, float] | None = None
    bands: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Heat:
    """A square matrix of values in [0, 1], NaN where there is none.

    Args:
        title: above it.
        labels: of rows and columns.
        values: row by row.
    """

    title: str
    labels: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Figure:
    """Charts under one heading.

    Args:
        name: of its files.
        title: heading.
        text: what it shows, and what it cannot show.
        charts: side by side, of one kind.
    """

    name: str
    title: str
    text: str
    charts: Sequence[Chart | Heat]


def short_name(name: str, most: int = 18) -> str:
    """A name, cut where it has more letters than there is room for.

    >>> short_name("drawer-close-v3"), short_name("peg-insertion-side-v3")
    ('drawer-close-v3', 'peg-insertion-sid…')
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"


def chart_variants(study: Study) -> tuple[Variant, ...]:
    """The variants that figures show: all, or the baseline and the best by P."""
    if len(study.variants) <= DRAWN:
        return study.variants
    first = study.variants[: study.baseline]
    rest = sorted(
        study.variants[len(first) :], key=lambda v: -float(np.nanmean(v.scores("performance")))
    )
    identities = {id(v) for v in (*first, *rest[: DRAWN - len(first)])}
    return tuple(v for v in study.variants if id(v) in identities)


def omission_note(study: Study) -> str:
    """A sentence where figures do not show every variant, else nothing."""
    if len(study.variants) <= DRAWN:
        return ""
    chosen = "the baseline and the best by P" if study.baseline else "the best by P"
    return f" Of {len(study.variants)} variants {DRAWN} are drawn, {chosen}; tables have all."


def with_intervals(name: str, x: Sequence[float], estimates: Sequence[Estimate]) -> Series:
    """A series of estimates."""
    return Series(
        name,
        x,
        [f.value for f in estimates],
        [f.low for f in estimates],
        [f.high for f in estimates],
    )


def aggregates(study: Study) -> Figure:
    """P, F, FT and G: mean and interquartile mean, with intervals."""
    charts = []
    for metric in HEADLINE:
        series = []
        for variant in chart_variants(study):
            scores = study.scores(variant, metric)
            both = [estimate(scores, statistic) for statistic in (mean, interquartile_mean)]
            missed = study.missed(variant, metric)
            marks = with_intervals(variant.name, [0, 1], both)
            series.append(marks if missed is None else _counted(marks, [missed] * 2))
        if any(v is not None for s in series for v in s.y):
            unit = "" if METRICS[metric].unit == "rate" else METRICS[metric].unit
            title = f"{study.symbol(metric)}: {metric.replace('_', ' ')}"
            charts.append(Chart(title, "", unit, series, ("mean", "IQM"), joined=False))
    text = (
        "Higher is better for P and FT, lower for F and G. Bars are 95 % intervals, bootstrap "
        "over whole seeds; a point without a bar has one seed. G of a variant that reached the "
        "threshold in no task is not drawn; where some tasks did not reach it, G is a lower bound."
    )
    if len(study.marks) > 1:
        text = " ".join([text, *transfer_notes(study)])
    return Figure("aggregates", "Performance, forgetting, transfer, speed", text, charts)


def plane(study: Study) -> Figure:
    """Plasticity against stability."""
    series = []
    for variant in chart_variants(study):
        own, lost = (estimate(study.scores(variant, m), mean) for m in ("plasticity", "forgetting"))
        if own.value is None or lost.value is None:
            continue
        series.append(
            Series(
                variant.name,
                [own.value],
                [-lost.value],
                [None if lost.high is None else -lost.high],
                [None if lost.low is None else -lost.low],
                [own.low],
                [own.high],
            )
        )
    chart = Chart(
        "",
        "plasticity: success when its training ends",
        "stability: \N{MINUS SIGN}F",
        series,
        joined=False,
    )
    text = (
        "Right: tasks are learned; up: they are kept. Bars are 95 % intervals over seeds."
        + omission_note(study)
    )
    return Figure("plane", "Plasticity and stability", text, [chart])


def _counted(series: Series, missed: Sequence[np.ndarray]) -> Series:
    """Counts until something is reached, without those where it never was.

    Args:
        series: of the counts.
        missed: of each value, 1.0 where its seeds and tasks did not get there.
    """
    never = [m.size > 0 and bool(m.all()) for m in missed]
    some = [int(np.nansum(m)) for m in missed]
    return replace(
        series,
        y=[None if n else y for n, y in zip(never, series.y)],
        remarks=[f"{k} of {m.size} not reached" if k else "" for k, m in zip(some, missed)],
    )


def _by_task(study: Study, title: str, label: str, values, joined: bool) -> Chart:
    """One value per task and variant."""
    chosen = chart_variants(study)
    tasks = list(dict.fromkeys(task for v in chosen for task in v.tasks))
    series = []
    for variant in chosen:
        scores = values(variant)
        estimates = [estimate(scores[:, i : i + 1], mean) for i in range(len(variant.tasks))]
        series.append(
            with_intervals(variant.name, [tasks.index(t) for t in variant.tasks], estimates)
        )
    series = [s for s in series if any(v is not None for v in s.y)]
    return Chart(title, "", label, series, tasks, joined)


def threshold(study: Study) -> Figure:
    """Steps to threshold of each task."""
    chart = _by_task(study, "", "steps", lambda v: v.scores("steps_to_threshold"), joined=False)
    series = []
    for marks in chart.series:
        variant = next(v for v in study.variants if v.name == marks.name)
        missed = variant.unreached("steps_to_threshold")
        if missed is not None:
            marks = _counted(marks, [missed[:, i : i + 1] for i in range(len(marks.y))])
        series.append(marks)
    chart = replace(chart, series=series)
    text = (
        "Steps of a task's own training until its success first reaches the threshold; a seed "
        "that never gets there counts with the whole budget, and where no seed does, nothing is "
        "drawn. Lower is better." + omission_note(study)
    )
    return Figure("threshold", "Steps to threshold", text, [chart])


def dictionaries(study: Study) -> Figure:
    """Change and recall of the dictionaries, capacity in use."""
    names = {
        "change": "change of the atoms",
        "recall": "recall from text",
        "owned": "neurons in use",
    }
    charts = [
        _by_task(study, title, "", lambda v, name=name: fact_scores(v, name), joined=True)
        for name, title in names.items()
    ]
    text = (
        "After each task, mean over layers and seeds. Recall: overlap (Jaccard) of the masks that "
        "the texts alone give back with those the tasks were trained with; 1 is perfect. Methods "
        "without dictionaries or ownership are not drawn." + omission_note(study)
    )
    panels = [chart for chart in charts if chart.series]
    return Figure("dictionaries", "Dictionaries and capacity, task by task", text, panels)


def similarities(study: Study) -> Figure:
    """Similarity of texts, then overlap of each variant's masks."""
    texts: list[Heat] = []
    masks: list[Heat] = []
    for variant in chart_variants(study):
        for key, charts in (("text_similarity", texts), ("mask_overlap", masks)):
            matrices = [_matrix(run.summary.get(key), len(variant.tasks)) for run in variant.runs]
            there = [matrix for matrix in matrices if matrix is not None]
            if there:
                values = np.mean(there, 0).round(6).tolist()
                what = "texts" if charts is texts else "masks"
                charts.append(Heat(f"{what}, {variant.name}", variant.tasks, values))
    if texts and all(t.values == texts[0].values and t.labels == texts[0].labels for t in texts):
        texts = [replace(texts[0], title="texts")]  # one encoder: no need to repeat them
    text = (
        "Texts: cosine of two tasks' embeddings. Masks: Jaccard index of two tasks' masks, mean "
        "over seeds. Where text prompts do what they are for, both look alike."
        + omission_note(study)
    )
    return Figure("similarity", "Do similar texts share neurons?", text, [*texts, *masks])


def _matrix(value, size: int) -> np.ndarray | None:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return matrix if matrix.shape == (size, size) and np.isfinite(matrix).all() else None
