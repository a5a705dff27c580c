"""Few-shot adaptation: what a run's network makes of a task that it has not seen."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from cotasp.agents.agent import WholeNetwork
from cotasp.continual.begun import BEGUN, recipe_of
from cotasp.continual.evaluation import Evaluator
from cotasp.continual.loop import resume, run
from cotasp.continual.opened import OpenedRun
from cotasp.continual.setup import make_tasks
from cotasp.errors import RecipeError, RunError, RunStopped, component_errors
from cotasp.prompting.encoders import checked_embeddings
from cotasp.prompting.recall import Exact, RecallPolicy
from cotasp.recipe import Recipe, dump
from cotasp.registry import KINDS
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.rundir import RECIPE, RunDirectory, write_json
from cotasp.tasks.streams import Extensible
from cotasp.tasks.task import Task

RESULT = "adapt.json"
_RUNS = "adapted", "fresh"


def adapt(
    source: str | Path,
    env: str,
    out: str | Path,
    *,
    text: str | None = None,
    steps: int,
    success_return: float | None = None,
    return_range: tuple[float, float] | None = None,
    baseline: bool = False,
    recall: RecallPolicy | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains one more task from a run's last finished one, and says how fast it is learned.

    The run itself stays as it is.  Written are run directories `adapted` and, as a baseline,
    `fresh`: the same recipe on the new task alone, from new networks, with the same budget.  Where
    that was stopped, the same call goes on with what is there.

    Args:
        source: run directory.
        env: the new task's environment, of the kind of the run's stream.
        out: directory to be made, or one that an equal call began.
        text: the new task's sentence; None: the shipped one.
        steps: environment steps of training, at least 1.
        success_return: return from which an episode of the new task counts as solved, where its
            stream lets a task say so, as `gymnasium` does.
        return_range: or the returns that count as 0 and as 1.
        baseline: whether to train the fresh networks, too.
        recall: which finished task a sentence means, for `zero_shot`; None: the recipe's.
        progress: whether to draw progress bars on standard error.

    Returns:
        what `adapt.json` holds: `env`, `name` (of the new task), `text`, `verdict` and `task` (what
        the sentence means to the run), `threshold`; success before any training by the policy that
        the run gives the sentence (`zero_shot`) and by the sentence's own prompt, from which
        training begins (`own_prompt`); and for `adapted` and perhaps `fresh`, `steps` and `success`
        of the evaluations, `area_under_curve`, `steps_to_threshold` (0: reached before training,
        None: not reached) and `final`.

    Raises:
        RecipeError: an environment or a text that does not fit the run, or a budget in which
            nothing can be learned.
        RunError: the run has finished no task, or something else is in `out`.
        RunStopped: a signal asked for it; the same call goes on.
    """
    directory, out = RunDirectory.open(source), Path(out)
    check_begun(out)
    recipe, finished = recipe_of(directory), finished_tasks(directory.path)
    check_adaptable(recipe)
    rules = {"success_return": success_return, "return_range": return_range}
    rules = {name: value for name, value in rules.items() if value is not None}
    extended = longer(recipe, finished, env, text, steps, **rules)
    alone = longer(recipe, 0, env, text, steps, **rules) if baseline else None
    place = f"{directory.path}@{finished}"
    for name, wanted, begun_from in (("adapted", extended, place), ("fresh", alone, None)):
        if wanted is not None:
            _check_same_run(out / name, wanted, begun_from)
    tasks = make_tasks(extended)
    task = tasks[-1]
    before = OpenedRun(directory.path, recall)
    _check_same_embeddings(before, tasks[:finished], tasks)
    facts = before.prompt(task.text)
    opened = before, OpenedRun(directory.path, Exact())
    told = tuple(replace(task, mark=each.mark(task.text)) for each in opened)
    evaluator = Evaluator(told, extended.evaluation, extended.seed, extended.faults)
    try:
        zero_shot, own_prompt = (
            evaluator(i, each.policy(task.text)).success for i, each in enumerate(opened)
        )
    finally:
        evaluator.close()
    out.mkdir(parents=True, exist_ok=True)
    summaries = {"adapted": _trained(extended, out / "adapted", place, progress)}
    if alone is not None:
        summaries["fresh"] = _trained(alone, out / "fresh", None, progress)
    threshold = extended.evaluation.threshold
    result: dict[str, Any] = {
        "run": str(source),
        "finished_tasks": finished,
        "env": env,
        "name": task.name,
        "text": task.text,
        "verdict": facts.verdict,
        "task": facts.task,
        "recall": KINDS["recall"].name_of(before.recall),
        "threshold": threshold,
        "budget": steps,
        "zero_shot": zero_shot,
        "own_prompt": own_prompt,
        **{name: learning(summary, threshold) for name, summary in summaries.items()},
    }
    write_json(out / RESULT, result)
    return result


def check_begun(out: Path) -> None:
    """Raises RunError where something is that is not of an adaptation that was stopped."""
    if (out / RESULT).exists():
        raise RunError(
            f"{out / RESULT}: an adaptation has ended there; choose another directory with --out, "
            f"or remove it"
        )
    names = {path.name for path in out.iterdir()} if out.is_dir() else {""}
    if not names <= set(_RUNS):
        RunDirectory.check_free(out)
    for name in _RUNS:
        if not (out / name / RECIPE).is_file():
            RunDirectory.check_free(out / name)


def _check_same_run(path: Path, recipe: Recipe, source: str | None) -> None:
    """Raises RunError where a directory holds a run of another recipe, or from another run."""
    if not (path / RECIPE).is_file():
        return
    stamp = RunDirectory.open(path).stamp()
    if stamp.get(BEGUN) != dump(recipe) or stamp.get("begun_from", {}).get("run") != source:
        raise RunError(
            f"{path}: holds a run that another command began; give that command again, choose "
            f"another directory with --out, or remove this one"
        )


def _trained(recipe: Recipe, path: Path, source: str | None, progress: bool) -> dict[str, Any]:
    """The summary of a run, which is begun, or goes on, or has ended."""
    try:
        if (path / RECIPE).is_file():
            return resume(path, progress=progress)
        return run(recipe, path, source=source, adapting=source is not None, progress=progress)
    except RunStopped as stopped:
        message = f"{stopped}, or with all that is left by the same `cotasp adapt` again"
        raise RunStopped(message, stopped.number) from stopped


def finished_tasks(path: Path) -> int:
    """How many tasks a run has finished, by its checkpoints; RunError if none."""
    finished = Checkpoints(path).finished()
    if not finished:
        raise RunError(f"{path}: no task is finished yet; wait until one is")
    return finished


def check_adaptable(recipe: Recipe) -> None:
    """Raises RecipeError where no later task can follow those of a run."""
    agent = type(recipe.agent).__name__
    if isinstance(recipe.agent, WholeNetwork):
        raise RecipeError(
            f"adapt: a {agent} has no prompts, which a new task begins from; adapt a run whose "
            f"agent is sac, td3 or ppo"
        )
    if recipe.actor.heads == "per_task":
        raise RecipeError(
            "adapt: this run's network has a head for each of its tasks and none for another "
            "(actor.heads); train with actor.heads shared"
        )


def _check_same_embeddings(run: OpenedRun, known: Sequence[Task], tasks: Sequence[Task]) -> None:
    """Raises RecipeError where one text more gives those of the run other embeddings."""
    encoder, texts = run.recipe.encoder, [text for task in known for text in task.texts]
    with component_errors("encoder", encoder):
        extended = encoder.prepare([text for task in tasks for text in task.texts])
    before, after = (checked_embeddings(each, texts) for each in (run.encoder, extended))
    if not torch.equal(before, after):
        raise RecipeError(
            f"adapt: with the encoder {type(encoder).__name__} one more text changes the "
            f"embeddings of those that the run was trained with; train with sbert"
        )


def longer(
    recipe: Recipe, count: int, env: str, text: str | None, steps: int, **rules: Any
) -> Recipe:
    """A recipe's first `count` tasks and a new one, of so many steps each.

    Args:
        recipe: of the run.
        count: 0 gives the new task alone.
        env: of the new task.
        text: of the new task; None: the shipped one.
        steps: of each task.
        rules: by which the new task's episodes are judged, for streams whose `followed_by` takes
            them.

    Raises:
        RecipeError: see `adapt`.
    """
    stream = recipe.stream
    if not isinstance(stream, Extensible):
        raise RecipeError(
            f"adapt: a {type(stream).__name__} takes no other task than its own; adapt a run whose "
            f"stream lists its tasks, such as metaworld, gymnasium or point (a stream of your own: "
            f"give it followed_by, see cotasp.tasks.streams.Extensible)"
        )
    if recipe.task_input == "number":
        raise RecipeError(
            "adapt: this run's policy observes the number of the task (task_input), and a new task "
            "has none; train with task_input none or text"
        )
    together = stream.make_tasks()[0].together
    if together > 1:
        raise RecipeError(
            f"adapt: the tasks of this run train {together} at once, and its policy observes which "
            f"of these it is at; a new task is none of them"
        )
    evaluation = replace(recipe.evaluation, every=None)
    unknown = [name for name in rules if name not in signature(stream.followed_by).parameters]
    if unknown:
        raise RecipeError(
            f"adapt: a {type(stream).__name__} judges its tasks itself; leave out {unknown[0]}"
        )
    longer_stream = stream.followed_by(count, env, text, **rules)

    def of(steps: int) -> Recipe:
        return replace(recipe, stream=longer_stream, steps_per_task=steps, evaluation=evaluation)

    try:
        return of(steps)
    except RecipeError as error:
        least = _least(of, steps, recipe.frames_per_batch)
        why, remedy = str(error), ""
        if least is not None:  # all that is asked for at once
            why, remedy = why.partition(";")[0], f"; --steps {least} do"
        raise RecipeError(f"adapt: {steps} steps do not fit this run: {why}{remedy}") from error


def _least(of: Callable[[int], Recipe], steps: int, multiple: int) -> int | None:
    """The fewest steps from `steps` on that a recipe takes; None: no number was found."""

    def fits(batches: int) -> bool:
        try:
            of(batches * multiple)
        except RecipeError:
            return False
        return True

    first = max(1, -(-steps // multiple))
    tried = [first << power for power in range(20)]
    fitting = next((batches for batches in tried if fits(batches)), None)
    if fitting is None:
        return None
    between = range(max(first, fitting // 2), fitting)
    return multiple * (between.start + bisect_left(between, True, key=fits))


def learning(summary: Mapping[str, Any], threshold: float) -> dict[str, Any]:
    """How the last task of a run was learned, from its summary.

    Args:
        summary: of the run.
        threshold: success rate that counts as learned; where the evaluation before training is
            there, which no metric counts, no step was needed.
    """
    last = len(summary["tasks"]) - 1
    evaluations = summary["evaluations"]
    while_it_trained = [i for i, trained in enumerate(evaluations["trained"]) if trained == last]
    per_task = {name: values[last] for name, values in summary["per_task"].items()}
    steps = [evaluations["task_steps"][i] for i in while_it_trained]
    success = [summary["success"][last][i] for i in while_it_trained]
    needed = per_task["steps_to_threshold"] if per_task["reached"] else None
    before = steps[0] == 0 and success[0] >= threshold
    return {
        "steps": steps,
        "success": success,
        "area_under_curve": per_task["area_under_curve"],
        "steps_to_threshold": 0.0 if before else needed,
        "final": per_task["performance"],
    }
