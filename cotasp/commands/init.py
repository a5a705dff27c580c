"""`cotasp init`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotasp.commands._common import add_verb
from cotasp.errors import RunError

EPILOG = """examples:
  cotasp init                          writes recipe.yaml: a toy stream, learned in seconds
  cotasp init mine.yaml --stream metaworld
  cotasp init mine.yaml --stream gymnasium
"""
STREAMS = {
    "point": """stream:
  name: point                # a toy; `cotasp list stream` names the others
  goals: [right, left, top]
steps_per_task: 1500         # environment steps of each task
frames_per_batch: 20
dictionary: {lmbda: 0.05}    # the larger, the fewer neurons a task uses
agent:                       # so small a task takes high rates and a short look ahead
  critic: {hidden: [64, 64]}
  learning_rate: 5e-3
  n_step: 3
  gamma: 0.9
  tau: 0.05
  target_entropy: 0
  initial_temperature: 0.3
  reward_scale: 5.0
  warmup_steps: 180
  theta_updates: 99
  code_updates: 1
evaluation: {every: 300, average: 1}
""",
    "metaworld": """stream:
  name: metaworld
  action_repeat: 4           # every action is held for four steps
  tasks:                     # in the order in which they are learned; the texts are shipped
    - window-close-v3
    - door-close-v3
    - {env: reach-v3, text: Reach the red goal.}   # or words of your own
steps_per_task: 20_000       # environment steps of each task
""",
    "gymnasium": """stream:
  name: gymnasium
  # packages: [myenvs]       # what registers environments of your own; it is imported
  tasks:                     # their observations and actions have the same lengths
    - {env: Pendulum-v1, text: Swing the pole up., return_range: [-1600, -150]}
    # success: info["success"] if there is one; or success_return: -200; or return_range, as here
steps_per_task: 10_000       # environment steps of each task
""",
}
REST = """
# Each of these has a default; `cotasp show FILE` prints all of them, `cotasp list KIND` the names.
encoder: sbert               # text to embedding; sbert reads any sentence
mask: step                   # which neurons a task uses
protection: freeze           # what keeps finished tasks
actor: {{hidden: {hidden}}}  # the network that all tasks share
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = add_verb(subparsers, "init", "Write a commented recipe to begin with.", EPILOG)
    parser.add_argument("file", nargs="?", default="recipe.yaml", help="default recipe.yaml")
    parser.add_argument("--stream", choices=sorted(STREAMS), default="point", help="default point")


def main(arguments: argparse.Namespace) -> None:
    """Writes the file, unless there is one."""
    path = Path(arguments.file)
    toy = arguments.stream == "point"
    rest = REST.format(hidden="[256, 256]" if toy else "[1024, 1024]")
    text = (
        f"# cotasp run {path}\n"
        f"question: What do I want to find out?\n\n{STREAMS[arguments.stream]}{rest}"
    )
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise RunError(f"{path}: is there already; name another file") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from error
    print(f"done: {path}; next: cotasp show {path}, then cotasp run {path}")
