"""A policy that leaves its run, by task or by sentence."""

from __future__ import annotations

from pathlib import Path

from cotasp.continual.opened import OpenedRun
from cotasp.continual.protocol import protocol_stamp
from cotasp.errors import RecipeError
from cotasp.modules.export import export_policy
from cotasp.modules.policy import MetaPolicy
from cotasp.prompting.texts import NORMALISATION, normal_form
from cotasp.targets import EXPORTS, check_file
from cotasp.tasks.closing import close
from cotasp.tasks.simulator import ScalesActions
from cotasp.tasks.task import Task


def export(
    run: OpenedRun, out: str | Path, *, text: str | None = None, task: str | None = None
) -> tuple[MetaPolicy, Task | None]:
    """Writes the deterministic policy of a sentence or of a task of a run.

    It acts in the range of actions of its task's environment, or of the first task's.  The file
    knows what it is: the sentence and its normal form, the task that it means with its
    environment, how long each action is to be held, how many numbers an observation has, and the
    hash of the run's protocol.  Where the run's policy is told its task (`task_input`, or lessons
    of several tasks), the file tells it: it takes the environment's own observation.

    Args:
        run: opened.
        out: see `cotasp.modules.export_policy`.
        text: a sentence.
        task: or the name of a task, whose own text is the sentence.

    Returns:
        the sub-network that was written, and its task; None: the sentence means none for sure.

    Raises:
        RecipeError: neither or both, no such task, a text that no encoder takes, or a file of
            another ending.
        RunError: no task is finished, the file cannot be written, or the policy is told the number
            of its task and the sentence means none.
    """
    check_file(out, EXPORTS)
    if (text is None) == (task is None):
        raise RecipeError("export: expected a text or a task, one of the two")
    if text is None:
        place, network = run.sub_network(str(task))
        sentence, mark = run.tasks[place].text, run.tasks[place].mark
        verdict = "known" if place in run.finished else "unfinished"
    else:
        sentence, verdict, mark = text, run.prompt(text).verdict, run.mark(text)
        network, index = run.network(text)
        place = -1 if index is None else index
    chosen = None if place < 0 else run.tasks[place]
    facts: dict[str, str | int] = {
        "environment": "" if chosen is None else chosen.env,
        "task": "" if chosen is None else chosen.name,
        "text": sentence,
        "normal_form": normal_form(sentence),
        "normalisation": NORMALISATION,
        "verdict": verdict,
        "action_repeat": run.recipe.stream.action_repeat,
        "protocol": protocol_stamp(run.recipe)["hash"],
    }
    env = (run.tasks[0] if chosen is None else chosen).make_env()
    limits = env.action_range if isinstance(env, ScalesActions) else None
    close(env)
    export_policy(network, out, facts, limits, mark)
    return network, chosen
