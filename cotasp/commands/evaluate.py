"""`cotasp evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from cotasp.commands._common import add_verb, set_threads


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Evaluate every task of a run from its checkpoint."
    parser = add_verb(subparsers, "evaluate", help)
    parser.add_argument("dir", metavar="DIR", help="run directory")
    parser.add_argument("--episodes", type=int, help="episodes per task")
    parser.add_argument("--mode", choices=["deterministic", "stochastic"], help="of acting")


def main(arguments: argparse.Namespace) -> None:
    """Prints each task's scores."""
    from cotasp.storage.rundir import RunDirectory

    RunDirectory.open(arguments.dir)  # what is wrong with it is said before torch is imported
    set_threads()
    from cotasp.continual.saved import evaluate_run

    scores = evaluate_run(arguments.dir, episodes=arguments.episodes, mode=arguments.mode)
    width = max(map(len, scores))
    print(f"{'task':<{width}}  success  return  steps")
    for name, score in scores.items():
        print(
            f"{name:<{width}}  {score.success:7.2f}  {score.episode_return:6.1f}"
            f"  {score.episode_length:5.0f}"
        )
    mean = sum(score.success for score in scores.values()) / len(scores)
    print(f"done: mean success {mean:.3f} over {len(scores)} tasks")
