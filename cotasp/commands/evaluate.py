"""`cotasp evaluate`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from cotasp.commands._common import add_recall_argument, add_verb, set_threads

if TYPE_CHECKING:
    from cotasp.continual.evaluation import Episodes

EXAMPLES = """examples:
  cotasp evaluate runs/smoke-seed0
  cotasp evaluate runs/smoke-seed0 --text "Park the car on the right." --episodes 50
  cotasp evaluate runs/smoke-seed0 --text "Go left." --task left --json
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Evaluate the tasks of a run, or a sentence, from its last checkpoint."
    parser = add_verb(subparsers, "evaluate", help, EXAMPLES)
    parser.add_argument("dir", metavar="DIR", help="run directory")
    parser.add_argument("--task", metavar="NAME", help="this one alone; default all")
    parser.add_argument(
        "--text",
        metavar="SENTENCE",
        help="the policy of this sentence, in the environment of --task or of the task it means",
    )
    add_recall_argument(parser)
    parser.add_argument("--episodes", type=int, help="episodes per task")
    parser.add_argument("--mode", choices=["deterministic", "stochastic"], help="of acting")
    parser.add_argument("--json", action="store_true", help="print every episode, as JSON")


def main(arguments: argparse.Namespace) -> None:
    """Prints scores with their intervals, or every episode."""
    from cotasp.prompting.texts import checked_texts
    from cotasp.storage.rundir import RunDirectory

    if arguments.text is not None:
        checked_texts("evaluate", [arguments.text])
    RunDirectory.open(arguments.dir)  # what is wrong with it is said before torch is imported
    set_threads()
    from cotasp.continual.opened import open_run

    run = open_run(arguments.dir, arguments.recall)
    options = {"episodes": arguments.episodes, "mode": arguments.mode}
    text, facts = arguments.text, None
    names = [arguments.task] if arguments.task else [task.name for task in run.tasks]
    if text is not None:
        facts = run.prompt(text)
        names = [arguments.task or facts.task or facts.nearest[0].name]
    results = {name: run.evaluate(text, task=name, **options) for name in names}
    if arguments.json:
        said = (
            {} if facts is None else {"text": text, "verdict": facts.verdict, "means": facts.task}
        )
        print(json.dumps({**said, "results": [_row(*each) for each in results.items()]}, indent=1))
        return
    if facts is not None:
        print(f"{facts.verdict}: {text!r} means {facts.task or 'no finished task for sure'}")
    later = [task.name for task in run.tasks[run.ended :] if text is None and task.name in results]
    if later:
        print(f"not finished: {', '.join(later)}; as they are in training, or from their texts")
    print(_table(results))


def _row(name: str, episodes: Episodes) -> dict[str, Any]:
    score = episodes.score()
    return {
        "task": name,
        "success": score.success,
        "success_interval": episodes.interval(),
        "return": score.episode_return,
        "steps": score.episode_length,
        "episodes": episodes.rows(),
    }


def _table(results: dict[str, Episodes]) -> str:
    width = max(map(len, ("task", *results)))
    lines = [f"{'task':<{width}}  success  95 % interval  return  steps"]
    scores = {name: episodes.score() for name, episodes in results.items()}
    for name, score in scores.items():
        low, high = results[name].interval()
        lines.append(
            f"{name:<{width}}  {score.success:7.2f}  {low:.2f} to {high:.2f}   "
            f"{score.episode_return:6.1f}  {score.episode_length:5.0f}"
        )
    mean = sum(score.success for score in scores.values()) / len(scores)
    episodes = sum(len(each.success) for each in results.values())
    tasks = f"{len(results)} task{'s' if len(results) > 1 else ''}"
    lines.append(f"done: mean success {mean:.3f} over {tasks}, {episodes} episodes")
    return "\n".join(lines)
