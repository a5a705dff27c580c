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
from cotasp.report.runs import Run, RunSet, read_runs
from cotasp.report.statistics import estimate, mean
from cotasp.storage.rundir import TIMING

ROOT = Path(__file__).parents[1]
TABLE, PAGE = ROOT / "results" / "table", ROOT / "docs" / "results.md"
README = ROOT / "README.md"
FRONT, LINES, LEAST = "short10", 6, 3  # README's table: of which stream, rows, seeds of a row
MARKS = "<!-- from docs/results.md, by scripts/leaderboard.py -->", "<!-- end -->"
PER_TASK = ("performance", "forgetting", "forward_transfer", "steps_to_threshold")
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
Seeds may come one by one: with `--more` a row keeps those it has, and tells the commit of each.
The numbers themselves are a file:

```python
import json

for name, row in json.load(open("results/table/quickstart.json"))["rows"].items():
    print(name, [run["performance"] for run in row["runs"]])
```
"""


def figures(run: Run) -> dict[str, Any]:
    """What the table keeps of a run; lists have a number per task."""
    summary = run.summary
    success = np.array(summary["success_last"], dtype=float)  # None: not evaluated
    timing = run.path / TIMING
    cost = json.loads(timing.read_text(encoding="utf-8")) if timing.exists() else {}
    seconds = cost.get("cpu_seconds_at_evaluations") or []
    there = [at for at, mean in zip(seconds, success.mean(axis=0)) if mean >= GOOD]  # of all tasks
    kept = {key: summary["per_task"][key] for key in PER_TASK}
    return {
        "seed": run.seed,
        **kept,
        "any": run.kept.at_end(np.array(summary["success_any"], dtype=float).T).tolist(),
        "reached": summary["per_task"]["reached"],
        **{key: summary.get(key) for key in ("weights", "active_weights", "kept_bytes")},
        "cpu_seconds": cost.get("cpu_seconds"),
        "cpu_seconds_to_good": there[0] if there else None,
    }


def rows_of(found: RunSet, method: str | None) -> dict[str, list[Run]]:
    """The runs by name of their row.

    Raises:
        RunError: runs that no name is known for.
    """
    names = {
        (sweep.path / place).resolve(): variant
        for sweep in found.sweeps
        for variant, seeds in sweep.trials.items()
        for place in seeds.values()
    }
    rows: dict[str, list[Run]] = {}
    for run in found.runs:
        name = method or names.get(run.path.resolve())
        if name is None:
            raise RunError(f"{run.path}: belongs to no sweep; name its row by --method")
        rows.setdefault(name, []).append(run)
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
        RunError: none has finished, or their protocol is not the table's.
    """
    found = read_runs(paths)
    for problem in found.problems:
        print(f"left out: {problem}", file=sys.stderr)
    if not found.runs:
        raise RunError(f"{', '.join(map(str, paths))}: no finished run")
    file = TABLE / f"{stream}.json"
    table = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"rows": {}}
    first = found.runs[0]
    table = {"title": stream, "about": "", "protocol": first.stamp["hash"]} | table
    table.setdefault("tasks", first.tasks)
    for name, runs in rows_of(found, method).items():
        versions = runs[0].summary["versions"]
        for run in runs:
            if run.stamp["hash"] != table["protocol"]:
                raise RunError(
                    f"{run.path}: expected protocol {table['protocol']}, as all rows of "
                    f"{file.name}, got {run.stamp['hash']}; begin another table by --to"
                )
        told = [figures(run) for run in runs]
        if more and name in table["rows"]:
            told = [*_other_seeds(table["rows"][name], told, commit), *told]
        table["rows"][name] = {
            "command": command,
            "commit": commit,
            "date": str(datetime.date.today()),
            "machine": f"{platform.machine()}, torch {versions.get('torch', 'unknown')}",
            "runs": sorted(told, key=lambda run: run["seed"]),
        }
    TABLE.mkdir(parents=True, exist_ok=True)
    file.write_text(dumped(table), encoding="utf-8")


def _other_seeds(
    row: dict[str, Any], runs: Sequence[dict[str, Any]], commit: str
) -> list[dict[str, Any]]:
    """A row's runs of other seeds, which name their commit where it is another one."""
    new = {run["seed"] for run in runs}
    others = [{"commit": row["commit"]} | run for run in row["runs"] if run["seed"] not in new]
    return [
        {key: value for key, value in run.items() if key != "commit" or value != commit}
        for run in others
    ]


def dumped(table: dict[str, Any]) -> str:
    """As JSON, whose lists of numbers take a line each."""
    text = json.dumps(table, indent=1)
    return NUMBERS.sub(lambda found: " ".join(found.group().split()), text) + "\n"


# -- the page -------------------------------------------------------------------------------------


def page() -> str:
    """docs/results.md."""
    files = sorted(path for path in TABLE.glob("*.json") if path.stem != "published")
    parts = [TOP, *(table_of(path) for path in files)]
    published = TABLE / "published.json"
    if published.exists():
        parts.append(published_table(json.loads(published.read_text(encoding="utf-8"))))
    return "\n".join([*parts, BOTTOM])


def table_of(path: Path) -> str:
    """A stream's table."""
    table = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 2) + "---|",
        *(f"| {' | '.join(cells(name, row))} |" for name, row in ranked(table)),
    ]
    commands = dict.fromkeys(row["command"] for row in table["rows"].values())
    machines = sorted({f"{r['date']}, {r['machine']}" for r in table["rows"].values()})
    tasks = ", ".join(table["tasks"])
    said = [
        f"Protocol `{table['protocol']}`; tasks: {tasks}. {'; '.join(machines)}.",
        "Again: " + "; ".join(f"`{command}`" for command in commands) + ".",
    ]
    head = [f"## {table['title']}", table["about"], "\n".join(lines), *said]
    return "\n\n".join(filter(None, head)) + "\n"


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
        ", ".join(f"`{c}`" for c in dict.fromkeys(r.get("commit", row["commit"]) for r in runs)),
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
    """Mean over tasks and seeds, and its interval over seeds."""
    rows = [run.get(key) for run in runs]
    if any(row is None or None in row for row in rows):
        return NONE
    found = estimate(np.array(rows, dtype=float), mean)
    if found.value is None:
        return NONE
    if found.low is None or found.high is None:
        return f"{found.value:,.{digits}f}"
    return f"{found.value:,.{digits}f} [{found.low:,.{digits}f}, {found.high:,.{digits}f}]"


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
