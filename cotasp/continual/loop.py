"""The loop over tasks.  It knows the learner and the stream, and no component by name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from torchrl.checkpoint import Checkpoint
from torchrl.collectors import Collector

from cotasp.continual.cost import cost
from cotasp.continual.evaluation import Evaluator
from cotasp.continual.history import History
from cotasp.continual.logs import Logs
from cotasp.continual.protocol import protocol_stamp, versions
from cotasp.continual.rundir import EVALUATIONS, SUMMARY, TIMING, RunDirectory
from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError, at
from cotasp.learning.agent import Learner, Problem
from cotasp.recipe import Recipe, check_machine
from cotasp.tasks.task import Task


def make_tasks(recipe: Recipe) -> tuple[Task, ...]:
    """The recipe's tasks in order.

    Raises:
        RecipeError: a task that cannot be built, or that does not fit the others.
    """
    with at("recipe.stream"):
        return recipe.stream.make_tasks()


def make_learner(recipe: Recipe, tasks: tuple[Task, ...]) -> Learner:
    """The recipe's learner at the beginning of its stream.

    Networks are drawn from torch's global random state.

    Raises:
        RecipeError: a task, text, size or device that cannot be used.
    """
    check_machine(recipe)
    texts = [task.text for task in tasks]
    with at("recipe.encoder"):
        method = replace(recipe.method, encoder=recipe.encoder.prepare(texts))
    env = tasks[0].make_env()
    sizes = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    env.close()
    problem = Problem(
        texts=texts,
        observation_dim=sizes[0],
        action_dim=sizes[1],
        steps_per_task=recipe.steps_per_task,
        seed=recipe.seed,
        device=recipe.device,
    )
    return recipe.agent.learner(problem, method)


def run(
    recipe: Recipe,
    out: str | Path,
    *,
    baseline: Mapping[str, float] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Learns the recipe's stream and writes a run directory.

    Args:
        recipe: what to run.
        out: the run directory; must not exist or be empty.
        baseline: AUC of single-task runs by environment, see `cotasp.continual.saved`; without
            it, or where a task has none, there is no forward transfer.
        progress: whether to draw a progress bar on standard error.

    Returns:
        the summary, as written to `summary.json`.

    Raises:
        RecipeError: the recipe cannot be run; nothing has been written.
        RunError: something went wrong on the way; what was written until then stays.
    """
    started = time.time()
    RunDirectory.check_free(out)
    torch.manual_seed(recipe.seed)
    tasks = make_tasks(recipe)
    learner = make_learner(recipe, tasks)
    stamp = protocol_stamp(recipe)
    directory = RunDirectory.create(out, recipe, {**stamp, "versions": versions()})
    evaluator = Evaluator(tasks, recipe.evaluation, recipe.seed)
    history = History(
        [task.name for task in tasks], recipe.averaged_evaluations, recipe.evaluation.threshold
    )
    logs = Logs(directory.path, recipe, len(tasks), progress)
    try:
        for index, task in enumerate(tasks):
            logs.begin_task(index, task.name)
            facts = learner.start_task(index)
            for steps, data, losses in _train(recipe, index, task, learner):
                logs.step(steps, data, losses)
                if steps % recipe.evaluation.every == 0 and steps < recipe.steps_per_task:
                    _evaluate(recipe, learner, evaluator, history, logs, index, steps)
            history.facts[task.name] = {**facts, **learner.end_task()}
            logs.facts(task.name, history.facts[task.name])
            Checkpoint(learner=learner).save(directory.checkpoint(index + 1))
            _evaluate(recipe, learner, evaluator, history, logs, index, recipe.steps_per_task)
            directory.write(EVALUATIONS, history.to_json())
    finally:
        logs.close()
        evaluator.close()
    summary = {
        **history.summary([(baseline or {}).get(task.env) for task in tasks]),
        **learner.summary(),
        "protocol": stamp,
        "seed": recipe.seed,
        "steps": recipe.steps_per_task * len(tasks),
        "versions": versions(),
        "wall_seconds": round(time.time() - started, 1),
    }
    directory.write(TIMING, cost(time.time() - started))
    directory.write(SUMMARY, summary)
    return summary


def _train(
    recipe: Recipe, index: int, task: Task, learner: Learner
) -> Iterator[tuple[int, TensorDictBase, dict[str, Any]]]:
    """Collects and learns; yields steps taken, the data collected and the losses."""
    env = task.make_env(seed=derive_seed(recipe.seed, "training", index))
    collector = Collector(
        env,
        learner.behaviour(),
        frames_per_batch=recipe.frames_per_batch,
        total_frames=recipe.steps_per_task,
        trust_policy=True,
        track_traj_ids=False,
        auto_register_policy_transforms=False,
    )
    steps = 0
    try:
        for data in collector:
            steps += data.numel()
            _check_finite(data, task.name, steps)
            try:
                losses = learner.learn(data)
            except RunError as error:
                raise RunError(f"task {task.name!r}, step {steps}: {error}") from error
            yield steps, data, losses
    finally:
        collector.shutdown()


def _check_finite(data: TensorDictBase, task: str, steps: int) -> None:
    # a reset's observation is next to nothing, so the roots are looked at too, but last
    for place, key in (("next", "observation"), ("next", "reward"), ("root", "observation")):
        finite = torch.isfinite(data[key] if place == "root" else data[place, key])
        if not finite.all():
            frame = int((~finite).reshape(data.numel(), -1).any(-1).nonzero()[0])
            step = steps - data.numel() + frame + 1
            raise RunError(
                f"task {task!r}, step {step}: the environment returned a {key} that is not "
                f"finite; the run stops before it learns from it"
            )


def _evaluate(
    recipe: Recipe,
    learner: Learner,
    evaluator: Evaluator,
    history: History,
    logs: Logs,
    index: int,
    steps: int,
) -> None:
    """Evaluates the tasks that the schedule asks for."""
    per_task = recipe.evaluations_per_task
    remaining = (len(history.tasks) - index) * per_task - -(-steps // recipe.evaluation.every)
    everything = recipe.evaluation.schedule == "full" or remaining < recipe.averaged_evaluations
    chosen = range(len(history.tasks)) if everything else [index]
    scores = {i: evaluator(i, learner.policy(i)) for i in chosen}
    history.add(index, steps, {i: score.success for i, score in scores.items()})
    logs.evaluation(index, steps, {history.tasks[i]: score for i, score in scores.items()})
