"""Tables in three languages."""

from __future__ import annotations

import io
import json
import math
import re
from types import SimpleNamespace

import pytest

from cotasp.report.charts import Chart, Series
from cotasp.report.results import task_table, updates
from cotasp.report.statistics import Estimate
from cotasp.report.svg import draw
from cotasp.report.tables import Cell, Table, count_until, interval, number
from tests.report.synthetic import make_run, recipe, study


def test_a_table_reads_the_same_in_three_languages():
    row = (Cell("a_b|c"), number(1.5), number(None), number(-0.001))
    table = Table("t", "A & B", ("variant", "x", "y", "z"), (row,), ("50% of {it}",))
    lines = table.markdown().splitlines()
    assert len({len(line) for line in lines[2:5]}) == 1, "columns are aligned"
    assert lines[4] == r"| a_b\|c  | 1.50 | -   | 0.00 |"
    assert table.csv().splitlines()[2:] == ["variant,x,y,z", "a_b|c,1.5,,-0.001"]
    thousands = Table("t", "T", ("v", "x"), ((Cell("a, b"), number(12_000, 0)),))
    assert thousands.csv().splitlines()[-1] == '"a, b",12000'
    assert "| 12,000 |" in thousands.markdown()
    tex = table.latex()
    assert r"a\_b\textbar{}c & 1.50 & - & 0.00 \\" in tex
    assert r"\caption{A \& B}" in tex
    assert r"50\% of \{it\}" in tex


def test_what_latex_takes_for_something_else_is_escaped():
    """In its usual encoding `<`, `>` and `|` are other signs; the end of a row takes what stands
    in `[]`, and `*`, as its argument.
    """
    rows = tuple((Cell(name), Cell("a <b> | c")) for name in ("[x] y", " *x", "x [0, 1]"))
    tex = Table("t", "T", ("[v]", "*w"), rows, ("[ ]: 95 %",)).latex()
    assert not {*"<>|"} & {*tex}
    assert r"a \textless{}b\textgreater{} \textbar{} c" in tex
    assert not re.search(r"(\\\\|\\\w+rule)\s*[\[*]", tex)
    assert r"{}[x] y &" in tex
    assert "\nx [0, 1] &" in tex


def test_a_name_of_two_lines_breaks_no_table():
    rows = ((Cell("a\nb"), number(1.0)), (Cell("c\r\n\r\nd"), number(2.0)))
    table = Table("t", "two\nlines", ("v\nw", "P"), rows, ("note\nof two",), ("what is\nmissing",))
    lines = table.markdown().splitlines()
    assert [line[:7] for line in lines[2:6]] == ["| v w |", "| --- |", "| a b |", "| c d |"]
    assert lines[6:] == ["", "- note of two", "- Missing or left out: what is missing"]
    notes = table.csv().splitlines()[:3]
    assert notes == ["# two lines", "# note of two", "# Missing or left out: what is missing"]
    assert "\n\n" not in table.latex()


def test_a_comment_sign_in_a_cell_begins_no_comment():
    """Tasks that come back are called `right#2`."""
    pandas = pytest.importorskip("pandas")
    rows = ((Cell("right#2"), number(0.5)), (Cell('#a "b", c'), number(1.0)))
    table = Table("t", "T", ("task#", "P"), rows, ("a note",))
    read = pandas.read_csv(io.StringIO(table.csv()), comment="#")
    assert read.columns.tolist() == ["task#", "P"]
    assert read.values.tolist() == [["right#2", 0.5], ['#a "b", c', 1.0]]


def test_a_csv_has_mean_low_and_high_as_numbers():
    rows = (
        (
            Cell("a"),
            interval(Estimate(1234.5678, 1000.0, 2000.0)),
            count_until(Estimate(9.0), 0, 1, 2),
        ),
        (Cell("b"), interval(Estimate(None)), count_until(Estimate(9.0), 0, 2, 2)),
    )
    table = Table("t", "T", ("variant", "P", "G IQM"), rows)
    head, a, b = table.csv().splitlines()[1:]
    assert head == "variant,P mean,P low,P high,G IQM,G IQM low,G IQM high,G IQM not reached"
    assert a == "a,1234.5678,1000,2000,9,,,0.5"
    assert b == "b,,,,,,,1"


def test_updates_are_those_that_are_told():
    """Tasks that are learned together tell them under the first, recalled ones have none."""

    def of(facts):
        return updates(SimpleNamespace(tasks=["a", "b"], summary={"task_facts": facts}))

    assert of({"a": {"updates": 620.0}}) == 620
    assert of({"a": {"updates": 620.0}, "b": {"updates": 20.0}}) == 640
    assert of({"a": {"updates": 620.0, "distillation_updates": 500.0}}) == 1120
    assert math.isnan(of({"a": {"free": 1.0}}))


def test_of_tasks_learned_together_nothing_says_when_they_were(tmp_path):
    for seed, lessons in enumerate((None, [0, 0, 0])):
        path = make_run(tmp_path / f"seed{seed}", recipe(), seed) / "summary.json"
        summary = json.loads(path.read_text())
        if lessons is not None:
            summary["evaluations"]["lessons"] = lessons
        path.write_text(json.dumps(summary))
    alone = task_table(study(tmp_path / "seed0"))
    assert {row[-1].text for row in alone.rows} <= {"0 of 1", "1 of 1"}
    together = task_table(study(tmp_path / "seed1"))
    assert {row[-1].text for row in together.rows} == {"-"}
    both = task_table(study(tmp_path))
    assert {row[-1].text for row in both.rows} == {row[-1].text for row in alone.rows}


def test_values_that_differ_by_how_sums_round_are_drawn_at_one_height():
    points = [Series("a", [0], [0.1 + 0.2]), Series("b", [1], [0.3])]
    drawn = draw(Chart("returns", "variant", "return", points, joined=False), ["a", "b"], "two")
    (circle,) = re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)
    (corners,) = re.findall(r'<polygon points="([^"]+)"', drawn)
    heights = [float(corner.split(",")[1]) for corner in corners.split()]
    assert (min(heights) + max(heights)) / 2 == pytest.approx(float(circle), abs=0.2)
