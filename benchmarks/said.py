"""Does a trained run do what it is told, in words that it was taught and in others?

    python benchmarks/said.py RUN [RUN ...] [--episodes N] [--json FILE]     (minutes a run)

Every finished task of a run is asked for by its own text, by the others that it was taught and by
the shipped phrasings that are held out; then its policy does as many episodes, the same for all
sentences of a task.  A sentence is good if its success is at least 0.9 of that of the task's text.

overlap   of the mask of the sentence's lasso and the task's, mean and least
good      share of (task, sentence) pairs; a sentence called ambiguous or new is done by the policy
          of its own prompt and counts like any other
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from _machine import commit, machine

import cotasp
from cotasp.tasks.texts import phrasings


def asked(run: Any, episodes: int | None) -> list[dict[str, Any]]:
    """Each sentence of each finished task: what it is taken for, and how its policy does."""
    rows = []
    for place in run.finished:
        task = run.tasks[place]
        parts = {"own": [task.text], "taught": task.phrasings}
        parts["held out"] = phrasings(task.env, "held_out")
        for part, sentences in parts.items():
            for sentence in sentences:
                facts = run.prompt(sentence)
                score = run.evaluate(sentence, task=task.name, episodes=episodes).score()
                (near,) = (row for row in facts.nearest if row.name == task.name)
                row = {"task": task.name, "part": part, "sentence": sentence}
                row |= {"verdict": facts.verdict, "means": facts.task}
                rows.append(row | {"overlap": near.overlap, "success": score.success})
                print(
                    f"{task.name:<22} {part:<8} {facts.verdict:<10} {facts.task or '':<22} "
                    f"{near.overlap:.2f}  {score.success:.2f}  {sentence}",
                    flush=True,
                )
    return rows


def figures(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The figures of each part, against the success of the task's own text."""
    own = {row["task"]: row["success"] for row in rows if row["part"] == "own"}
    found = {}
    for part in ("own", "taught", "held out"):
        here = [row for row in rows if row["part"] == part]
        if not here:
            continue
        good = [row["success"] >= 0.9 * own[row["task"]] for row in here]
        overlaps = [row["overlap"] for row in here]
        answered = [row for row in here if row["means"] is not None]
        found[part] = {
            "pairs": len(here),
            "good": sum(good) / len(good),
            "answered": len(answered) / len(here),
            "right": sum(r["means"] == r["task"] for r in answered) / max(1, len(answered)),
            "mean overlap": sum(overlaps) / len(overlaps),
            "least overlap": min(overlaps),
            "mean success": sum(row["success"] for row in here) / len(here),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--recall", metavar="NAME", help="default as in the recipe")
    parser.add_argument("--episodes", type=int, help="a sentence; default as in the recipe")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": machine("sentence-transformers"), "commit": commit()}
    report["runs"] = []
    for path in options.runs:
        run = cotasp.open_run(path, options.recall)
        rows = asked(run, options.episodes)
        found = figures(rows)
        for part, values in found.items():
            print(f"{part}:", "  ".join(f"{name} {value:.2f}" for name, value in values.items()))
        recall = type(run.recall).__name__
        facts = {"question": run.recipe.question, "tasks": [task.name for task in run.tasks]}
        report["runs"].append({**facts, "recall": recall, "figures": found, "sentences": rows})
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
