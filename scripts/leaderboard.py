"""The table of results: rows from finished runs, and the page that shows them.

    python scripts/leaderboard.py          # writes docs/results.md and the README's table
    python scripts/leaderboard.py add runs/short10 --to short10 --command "cotasp sweep ..."

`add` takes the finished runs of a sweep, one row for each of its variants, or of a run directory
(`--method NAME`), into `results/table/STREAM.json`, in the place of a row of that name, and writes
the page.  With `--more` a row keeps its other seeds, so that seeds may be added one by one.
Everything on the page is computed from these files.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cotasp import __version__
from cotasp.errors import CotaspError, RunError
from cotasp.report.runs import Run, Sweep, read_runs
from cotasp.report.statistics import estimate, mean
from cotasp.report.study import HEADLINE, Study, Variant, make_study
from cotasp.storage.rundir import TIMING

ROOT = Path(__file__).parents[1]
TABLE, PAGE = ROOT / "results" / "table", ROOT / "docs" / "results.md"
README = ROOT / "README.md"
FRONT, LINES, LEAST = "short10", 6, 3  # README's table: of which stream, rows, seeds of a row
MARKS = "<!-- from docs/results.md, by scripts/leaderboard.py -->", "<!-- end -->"
PER_TASK = (*HEADLINE, "reached")
NONE = "-"
COLUMNS = (
    "method",
    "seeds",
    "P",
    "P any",
    "F",
    "FT",
    "G",
    "CPU",
    "CPU to 0.8",
    "weights",
    "kept",
    "commit",
)
GOOD = 0.8  # mean success whose cost in processor time is told
NUMBERS = re.compile(r"\[[^][{}\"]*\]")
TOP = """# Results

Who learned what, with which intervals, from which commit, and how to have it again. This page is
written by `python scripts/leaderboard.py` from `results/table/`; a test writes it again and
compares.

P: success at the end of the stream, mean over tasks (last step of an episode; *any*: at any of its
steps). F: success lost since a task's own end. FT: what is learned more, or less, than alone with
the same budget. G: steps to a success of 0.9, where ≥ counts a task that never got there as its
whole budget. Intervals are bootstrap intervals of 95 % over seeds. *CPU*: processor seconds a seed,
evaluations left out; *CPU to 0.8*: those until the mean success of all tasks was first 0.8 where
all were evaluated (tasks learned one by one: at the end of the stream, with `evaluation.schedule:
full` every time); > counts a seed that never got there as all it used.
*weights*: that a task's policy uses, of all, in thousands. *kept*: what is kept for later tasks
besides the network. Rows of one table have one protocol; formulas and protocol are explained in
[Sweeps and reports](ablations.md).
"""
BOTTOM = """## To add a row

Run it, with at least three seeds, and hand the directory over. A new name of a stream begins a new
table, whose `title` and `about` you then write into its file:

```console
$ cotasp sweep recipes/sweeps/methods_toy.yaml --only finetune,cotasp --seeds 3 --out runs/toy
$ python scripts/leaderboard.py add runs/toy --to mine --command "cotasp sweep ... --seeds 3"
```

A row whose protocol differs from its table's is refused: it would compare what cannot be compared.
So are runs of several recipes under one name; a copy of a run is left out. Seeds may come one by
one: with `--more` a row keeps those it has, and the command, commit, date and machine of each.
The numbers themselves are a file:

```python
import json

for name, row in json.load(open("results/table/quickstart.json"))["rows"].items():
    print(name, [run["performance"] for run in row["runs"]])
```
"""


def figures(variant: Variant) -> list[dict[str, Any]]:
    """What the table keeps of each run, computed from what it keeps; lists have a number per task.

    Raises:
        RunError: a task has no success at the end.
    """
    scores = {metric: variant.scores(metric) for metric in PER_TASK}
    lacking = np.isnan(scores["performance"])
    for run, tasks in zip(variant.runs, lacking):
        if tasks.any():
            raise RunError(
                f"{run.path}: expected every task's success at the end of the stream, got none of "
                f"{', '.join(np.array(run.tasks)[tasks])}; evaluate all tasks then"
            )
    return [
        {
            "seed": run.seed,
            **{metric: _numbers(values[i]) for metric, values in scores.items()},
            "any": _numbers(run.kept.at_end(run.kept.matrix("success_any"))),
            **{key: run.summary.get(key) for key in ("weights", "active_weights", "kept_bytes")},
            **_cost(run),
            **({"against": variant.against} if variant.against else {}),
        }
        for i, run in enumerate(variant.runs)
    ]


def _cost(run: Run) -> dict[str, Any]:
    """Processor seconds of a run, and those until the mean success of all tasks was `GOOD`."""
    timing = run.path / TIMING
    cost = json.loads(timing.read_text(encoding="utf-8")) if timing.exists() else {}
    means = run.kept.matrix("success_last").mean(axis=1)  # NaN where a task was not evaluated
    seconds = cost.get("cpu_seconds_at_evaluations") or []
    there = [at for at, mean in zip(seconds, means) if mean >= GOOD]
    return {
        "cpu_seconds": cost.get("cpu_seconds"),
        "cpu_seconds_to_good": there[0] if there else None,
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """As JSON and summaries have them."""
    return [None if np.isnan(value) else round(float(value), 6) for value in values]


def rows_of(study: Study, sweeps: Sequence[Sweep], method: str | None) -> dict[str, Variant]:
    """The variants by name of their row: the sweep's, or the only one's that is given.

    Raises:
        RunError: no name is known for runs, or one for runs of several recipes.
    """
    if method is not None and len(study.variants) > 1:
        names = ", ".join(variant.name for variant in study.variants)
        raise RunError(
            f"--method {method}: expected runs of one recipe, got those of "
            f"{len(study.variants)}: {names}; add each by itself"
        )
    names = {
        (sweep.path / place).resolve(): variant
        for sweep in sweeps
        for variant, seeds in sweep.trials.items()
        for place in seeds.values()
    }
    rows: dict[str, Variant] = {}
    for variant in study.variants:
        path = variant.runs[0].path
        name = method or names.get(path.resolve())
        if name is None:
            raise RunError(f"{path}: belongs to no sweep; name its row by --method")
        if name in rows:
            other = rows[name].runs[0].path
            raise RunError(
                f"{path}: expected the recipe of {other}, for both are called {name}, got another; "
                f"add them one by one, by --method"
            )
        rows[name] = variant
    return rows


def add(
    paths: Sequence[Path],
    stream: str,
    command: str,
    method: str | None,
    commit: str,
    more: bool = False,
) -> None:
    """Puts runs into a stream's table; with `more`, beside the other seeds of their rows.

    Raises:
        CotaspError: none has finished, their protocol is not the table's, a row would be of
            several recipes, or a task has no success at the end.
    """
    found = read_runs(paths)
    study = make_study(found, mix_protocols=True)
    for problem in study.problems:
        print(f"leaderboard: {problem}", file=sys.stderr)
    file = TABLE / f"{stream}.json"
    table = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": {}}
    first = study.variants[0]
    table = {"title": stream, "about": "", "protocol": first.stamp["hash"]} | table
    table.setdefault("tasks", first.tasks)
    for variant in study.variants:
        if variant.stamp["hash"] != table["protocol"]:
            raise RunError(
                f"{variant.runs[0].path}: expected protocol {table['protocol']}, as all rows of "
                f"{file.name}, got {variant.stamp['hash']}; begin another table by --to"
            )
    for name, variant in rows_of(study, found.sweeps, method).items():
        versions = variant.runs[0].summary.get("versions", {})
        source = {
            "command": command,
            "commit": commit,
            "date": str(datetime.date.today()),
            "machine": f"{platform.machine()}, torch {versions.get('torch', 'unknown')}",
        }
        told = figures(variant)
        if more and name in table["rows"]:
            told = [*_other_seeds(table["rows"][name], told, source), *told]
        table["rows"][name] = {**source, "runs": sorted(told, key=lambda run: run["seed"])}
    table_of(table)  # what the page cannot show is not written
    TABLE.mkdir(parents=True, exist_ok=True)
    file.write_text(dumped(table), encoding="utf-8")


def _other_seeds(
    row: dict[str, Any], runs: Sequence[dict[str, Any]], source: dict[str, str]
) -> list[dict[str, Any]]:
    """A row's runs of other seeds, which name what of their source is another's."""
    new = {run["seed"] for run in runs}
    others = [sourced(row, run) | run for run in row["runs"] if run["seed"] not in new]
    return [
        {key: value for key, value in run.items() if key not in source or value != source[key]}
        for run in others
    ]


def sourced(row: dict[str, Any], run: dict[str, Any]) -> dict[str, str]:
    """Where a run comes from: the row says it, unless the run has come from elsewhere."""
    return {key: run.get(key, row[key]) for key in ("command", "commit", "date", "machine")}


def dumped(table: dict[str, Any]) -> str:
    """As JSON, whose lists of numbers take a line each."""
    text = json.dumps(table, indent=1)
    return NUMBERS.sub(lambda found: " ".join(found.group().split()), text) + "\n"


# -- the page -------------------------------------------------------------------------------------


def page() -> str:
    """docs/results.md."""
    files = sorted(path for path in TABLE.glob("*.json") if path.stem != "published")
    parts = [TOP, *(table_of(json.loads(path.read_text(encoding="utf-8"))) for path in files)]
    published = TABLE / "published.json"
    if published.exists():
        parts.append(published_table(json.loads(published.read_text(encoding="utf-8"))))
    return "\n".join([*parts, BOTTOM])


def table_of(table: dict[str, Any]) -> str:
    """A stream's table."""
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 2) + "---|",
        *(f"| {' | '.join(cells(name, row))} |" for name, row in ranked(table)),
    ]
    sources = [sourced(row, run) for row in table["rows"].values() for run in row["runs"]]
    commands = dict.fromkeys(source["command"] for source in sources)
    machines = sorted({f"{source['date']}, {source['machine']}" for source in sources})
    tasks = ", ".join(table["tasks"])
    said = [
        f"Protocol `{table['protocol']}`; tasks: {tasks}. {'; '.join(machines)}.",
        "Again: " + "; ".join(f"`{command}`" for command in commands) + ".",
        *transfer(table),
    ]
    head = [f"## {table['title']}", table["about"], "\n".join(lines), *said]
    return "\n\n".join(filter(None, head)) + "\n"


def transfer(table: dict[str, Any]) -> list[str]:
    """What forward transfer is measured against, and which rows', where there is any."""
    rows: dict[str, list[str]] = {}
    for name, row in ranked(table):
        for against in dict.fromkeys(run["against"] for run in row["runs"] if "against" in run):
            rows.setdefault(against, []).append(f"`{name}`")
    told = "; ".join(f"{against} ({', '.join(names)})" for against, names in rows.items())
    return [f"FT against {told}."] * bool(told)


def front() -> str:
    """README's table: the rows of one stream that have enough seeds, best first."""
    table = json.loads((TABLE / f"{FRONT}.json").read_text(encoding="utf-8"))
    columns = "method", "seeds", "P", "F", "CPU", "weights"
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for name, row in ranked(table):
        if len(row["runs"]) >= LEAST:
            told = dict(zip(COLUMNS, cells(name, row)))
            lines.append(f"| {' | '.join(told[column] for column in columns)} |")
    return "\n".join(lines[: LINES + 2])


def with_front(readme: str) -> str:
    """README with that table between its marks."""
    before, _, rest = readme.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{front()}\n{MARKS[1]}{after}"


def ranked(table: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A table's rows, best first."""
    return sorted(table["rows"].items(), key=lambda item: (-_mean(item[1], "performance"), item))


def cells(name: str, row: dict[str, Any]) -> list[str]:
    """A row of a stream's table."""
    runs = row["runs"]
    reached = [x for run in runs for x in run.get("reached") or [] if x is not None]
    bound = "≥ " if reached and min(reached) < 1 else ""
    weights = [(run.get("active_weights"), run.get("weights")) for run in runs]
    known = [pair for pair in weights if None not in pair]
    used = float(np.mean([active for active, _ in known])) if known else 0.0
    kept = _values(runs, "kept_bytes")
    cpu = _values(runs, "cpu_seconds")
    return [
        f"`{name}`",
        str(len(runs)),
        with_interval(runs, "performance", 2),
        with_interval(runs, "any", 2),
        with_interval(runs, "forgetting", 2),
        with_interval(runs, "forward_transfer", 2),
        bound + with_interval(runs, "steps_to_threshold", 0),
        f"{np.mean(cpu):,.0f} s" if cpu else NONE,
        seconds_to_good(runs),
        f"{used / 1e3:,.0f} / {known[0][1] / 1e3:,.0f}" if known else NONE,
        _bytes(float(np.mean(kept))) if kept else NONE,
        ", ".join(f"`{c}`" for c in dict.fromkeys(sourced(row, run)["commit"] for run in runs)),
    ]


def seconds_to_good(runs: Sequence[dict[str, Any]]) -> str:
    """Mean processor seconds until the mean success was `GOOD`."""
    if any("cpu_seconds_to_good" not in run or run["cpu_seconds"] is None for run in runs):
        return NONE
    told = [run["cpu_seconds_to_good"] for run in runs]
    if set(told) == {None}:
        return "not reached"
    spent = [run["cpu_seconds"] if at is None else at for run, at in zip(runs, told)]
    return f"{'> ' if None in told else ''}{np.mean(spent):,.0f} s"


def with_interval(runs: Sequence[dict[str, Any]], key: str, digits: int) -> str:
    """Mean over tasks and seeds, and its interval over seeds; of how many tasks, where some seed
    has no value of one.
    """
    rows = [run.get(key) for run in runs]
    if None in rows:
        return NONE
    scores = np.array(rows, dtype=float)  # None: NaN
    found, count = estimate(scores, mean), int((~np.isnan(scores).any(0)).sum())
    if found.value is None:
        return NONE
    text = f"{found.value:,.{digits}f}"
    if found.low is not None and found.high is not None:
        text += f" [{found.low:,.{digits}f}, {found.high:,.{digits}f}]"
    return text if count == scores.shape[1] else f"{text} ({count} of {scores.shape[1]} tasks)"


def published_table(table: dict[str, Any]) -> str:
    """Numbers of others, which no row above may be compared with as they are."""
    lines = ["| method | stream | P | F | FT | protocol |", "|---|---|---:|---:|---:|---|"]
    for row in table["rows"]:
        numbers = (NONE if row.get(key) is None else f"{row[key]:.2f}" for key in ("P", "F", "FT"))
        kind = table["protocols"][row["protocol"]]
        lines.append(f"| {row['method']} | {row['stream']} | {' | '.join(numbers)} | {kind} |")
    return "\n\n".join(["## Published", table["about"], "\n".join(lines)]) + "\n"


def _values(runs: Iterable[dict[str, Any]], key: str) -> list[float]:
    return [float(run[key]) for run in runs if run.get(key) is not None]


def _mean(row: dict[str, Any], key: str) -> float:
    return float(np.mean([run[key] for run in row["runs"]]))


def _bytes(count: float) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} B"


def checked_out() -> str:
    """The commit that is checked out, or the version where there is no history."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    told = subprocess.run(git, capture_output=True, text=True)
    return told.stdout.strip() if told.returncode == 0 else f"v{__version__}"


def main(argv: Sequence[str] | None = None) -> None:
    """Adds rows if told, and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb")
    adding = verbs.add_parser("add", help="take finished runs into a table")
    adding.add_argument("paths", nargs="+", type=Path, metavar="DIR")
    adding.add_argument("--to", required=True, metavar="STREAM", help="the table, e.g. short10")
    adding.add_argument("--command", required=True, help="what makes the runs again")
    adding.add_argument("--method", help="name of the row, where the directory is no sweep")
    adding.add_argument("--commit", help="of the library that ran; default: the one checked out")
    adding.add_argument("--more", action="store_true", help="keep a row's other seeds")
    options = parser.parse_args(argv)
    if options.verb:
        commit = options.commit or checked_out()
        told = options.command, options.method, commit, options.more
        try:
            add(options.paths, options.to, *told)
        except CotaspError as error:
            sys.exit(f"leaderboard: error: {error}")
    PAGE.write_text(page(), encoding="utf-8")
    if README.exists() and (TABLE / f"{FRONT}.json").exists():
        README.write_text(with_front(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)} and the README's table; next: git diff")


if __name__ == "__main__":
    main()
