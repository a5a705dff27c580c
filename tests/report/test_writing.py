"""The report's files and its command."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cotasp.__main__ import main
from cotasp.report import writing
from cotasp.report.charts import Chart, Figure, Heat, Series
from cotasp.report.compare import comparison, comparison_table
from cotasp.report.writing import all_tables, report_figures
from tests.report.synthetic import make_run, make_runs, recipe, study

ROOT = Path(__file__).parents[2]
VARIANTS = {
    "a": (("dictionary.update=anchored",), 0.9),
    "f": (("dictionary.update=frozen",), 0.4),
}
TABLES = ["recipes", "results", "metrics", "tasks", "dictionaries", "cost"]


@pytest.fixture
def runs(tmp_path) -> Path:
    return make_runs(tmp_path / "runs", VARIANTS, range(3))


def test_the_command_writes_tables_and_page_and_ends_clearly(runs, capsys):
    assert main(["report", str(runs)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"done: 6 runs, 2 variants; see {runs}/report/index.html"
    names = {path.name for path in (runs / "report").iterdir()}
    assert names == {"index.html", *(f"{t}.{e}" for t in TABLES for e in ("md", "csv", "tex"))}
    assert (runs / "report" / "results.md").read_text() in out
    # a report among the runs is no run
    assert main(["report", str(runs)]) == 0
    assert capsys.readouterr().out == out


def test_a_report_leaves_nothing_of_an_earlier_one(runs, tmp_path):
    out = tmp_path / "out"
    grid = [(f"dictionary.update={u}", "mask=topk", f"mask.k={k}") for u in ("lazy", "online")
            for k in (3, 9)]  # fmt: skip
    make_runs(tmp_path / "grid", {str(i): (o, 0.5) for i, o in enumerate(grid)}, [0])
    assert main(["report", str(tmp_path / "grid"), "--out", str(out)]) == 0
    (out / "figures").mkdir()
    for file in ("figures/plane.png", "figures/plane.svg", "comparison.md", "notes.md"):
        (out / file).touch()
    assert (out / "axes.csv").exists()
    assert main(["report", str(runs), "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    # what no report has written in this form is somebody's own
    own = {"comparison.md", "notes.md", "figures"}
    assert names == {
        "index.html",
        *own,
        *(f"{t}.{e}" for t in TABLES for e in ("md", "csv", "tex")),
    }
    assert not any((out / "figures").iterdir())


def test_every_table_and_figure_is_of_a_known_name(runs, tmp_path):
    found = study(runs)
    assert {table.name for table in all_tables(found)} <= {*writing.TABLES}
    assert {figure.name for figure in report_figures(found)} == {*writing.FIGURES}
    assert comparison_table(comparison(runs / "a", runs / "f")).name in writing.TABLES


@pytest.mark.parametrize("table", TABLES[1:])
def test_every_table_says_protocol_and_seeds(runs, table):
    main(["report", str(runs)])
    text = (runs / "report" / f"{table}.md").read_text()
    stamp = json.loads((runs / "a" / "seed0" / "summary.json").read_text())["protocol"]["hash"]
    assert f"Protocol {stamp}" in text
    assert "seeds" in text


def test_csv_is_read_by_a_csv_reader(runs):
    main(["report", str(runs)])
    lines = (runs / "report" / "tasks.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 2 * 3
    assert {row["variant"] for row in rows} == {"update=anchored", "update=frozen"}


def test_every_figure_is_saved_as_png_and_svg(runs, tmp_path):
    pytest.importorskip("matplotlib")
    assert main(["report", str(runs), "--out", str(tmp_path / "out"), "--figures"]) == 0
    names = ("aggregates", "success", "plane", "threshold", "similarity", "dictionaries")
    for name in names:
        assert (tmp_path / "out/figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (tmp_path / "out/figures" / f"{name}.svg").read_text()[:2000]


def test_a_long_name_leaves_figures_their_axes(tmp_path):
    """Warnings are errors: matplotlib warns where it has no room for axes."""
    pytest.importorskip("matplotlib")
    from cotasp.report.images import save_figures

    long = "x$" * 1500
    series = [Series(long, [0.0, 1.0], [0.0, 1.0], [0.0, 0.9], [0.1, 1.0])]
    charts = [
        Chart(long, "steps", "success", series),
        Chart("", "", "steps", series, (long, long + "y"), joined=False),
    ]
    heat = Heat(long, [long, long + "y"], [[1.0, 0.5], [0.5, 1.0]])
    figures = [Figure("a", "a", "", charts), Figure("b", "b", "", [heat])]
    named = SimpleNamespace(variants=(SimpleNamespace(name=long),))
    save_figures(figures, named, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "b.png", "b.svg"}


def test_without_matplotlib_figures_are_refused_before_anything_is_written(
    runs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("cotasp.report.images.find_spec", lambda name: None)
    assert main(["report", str(runs), "--out", str(tmp_path / "out"), "--figures"]) == 2
    assert 'pip install "cotasp[report]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_compare_prints_what_differs_and_a_verdict(runs, capsys):
    assert main(["compare", str(runs / "f"), str(runs / "a")]) == 0
    out = capsys.readouterr().out
    assert "dictionary.update" in out
    assert out.splitlines()[-1] == "done: too few seeds to say"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["report"], "the following arguments are required: RUNS"),
        (["report", "nowhere"], "report: found no finished run; nowhere: no such directory"),
        (["compare", "runs/a"], "the following arguments are required: B"),
        (["compare", "runs/a", "runs/f", "--figures"], "only where --out names a directory"),
        (["report", "runs", "--baseline", "update=frozn"], "Did you mean 'update=frozen'"),
        (["report", "runs", "--out", "file/report"], "file/report: cannot write the report"),
        (["report", "sweep.yaml"], "sweep.yaml: no such directory"),
        (["report", "file"], "file: expected a directory of runs, found a file; name the"),
    ],
)
def test_mistakes_are_one_line(argv, message, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(argv) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_runs_of_other_sizes_are_reported_together_when_asked(runs, tmp_path, capsys):
    make_run(tmp_path / "more", recipe(5, 4), 0)
    argv = ["report", str(runs), str(tmp_path / "more"), "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    assert "--mix-protocols" in capsys.readouterr().err
    assert main([*argv, "--mix-protocols"]) == 0
    assert "PROTOCOLS ARE MIXED" in capsys.readouterr().out


def test_a_report_imports_no_torch(runs):
    code = (
        "import sys; from cotasp.__main__ import main; "
        f"main(['report', {str(runs)!r}]); "
        "print({'torch', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_many_runs_stay_within_the_limits_of_memory_and_size(tmp_path):
    """A quarter of what `benchmarks/report.py` measures."""
    command = [sys.executable, str(ROOT / "benchmarks/report.py"), "--variants", "10"]
    subprocess.run([*command, "--json", str(tmp_path / "found.json")], check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["runs"] == 50
    assert found["peak_memory_bytes"] < 2**30
    assert found["html_bytes"] < 5e6


def test_one_variant_alone_is_called_one(runs, tmp_path, capsys):
    """A sweep may have varied something all the same: what is told is of runs that have ended."""
    out = tmp_path / "out"
    assert main(["report", str(runs / "a" / "seed0"), "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"done: 1 run, 1 variant; see {out}/index.html\n")
    page = (out / "index.html").read_text()
    assert "The finished runs have one recipe" in page
    assert "<li>1 run</li><li>1 variant</li>" in page
