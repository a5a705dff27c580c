"""What a recipe's run begins with: its tasks and its learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from cotasp.agents.agent import Learner, Stackable
from cotasp.continual.machine import check_machine
from cotasp.continual.randomness import forked
from cotasp.continual.revisits import Revisits
from cotasp.continual.twins import check_told_apart
from cotasp.errors import RecipeError, at, component_errors, refuse_returned
from cotasp.methods.problem import Problem
from cotasp.prompting.encoders import checked_embeddings
from cotasp.recipe import Recipe
from cotasp.tasks.closing import close
from cotasp.tasks.entries import one_hot
from cotasp.tasks.lessons import check_lessons, taught_phrasings
from cotasp.tasks.task import Task, owners

if TYPE_CHECKING:
    from cotasp.agents.updates import Stacking


def make_tasks(recipe: Recipe) -> tuple[Task, ...]:
    """The recipe's tasks in order.

    Raises:
        RecipeError: a task that cannot be built, or that does not fit the others.
    """
    with at("recipe.stream"), component_errors("stream", recipe.stream):
        tasks = recipe.stream.make_tasks()
        repeat = recipe.stream.action_repeat
        for task in tasks:
            if task.action_repeat != repeat:
                raise RecipeError(
                    f"action_repeat: expected {repeat} in every task, as the stream says, got "
                    f"{task.action_repeat} in {task.name!r}"
                )
        check_lessons(tasks)
    return _marked(recipe, tasks)


def _marked(recipe: Recipe, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """The tasks, whose observations end with what the recipe's `task_input` says."""
    if recipe.task_input == "none":
        return tasks
    if recipe.task_input == "number":
        own = [
            i if t.together > 1 else owner for i, (t, owner) in enumerate(zip(tasks, owners(tasks)))
        ]
        marks = [one_hot(i, len(tasks)) for i in own]
    else:
        marks = text_marks(recipe, tasks, [task.text for task in tasks])
    return tuple(replace(task, mark=mark) for task, mark in zip(tasks, marks))


def text_marks(
    recipe: Recipe, tasks: Sequence[Task], texts: Sequence[str]
) -> list[tuple[float, ...]]:
    """What a policy that is told texts (`task_input: text`) observes of each: its embedding.

    Args:
        recipe: of the run.
        tasks: of its stream, for whose texts the encoder is prepared.
        texts: of these, or others.
    """
    own = [task.text for task in tasks]
    with forked(recipe.seed), at("recipe.encoder"), component_errors("encoder", recipe.encoder):
        encoder = recipe.encoder.prepare(own)
        return [tuple(row) for row in checked_embeddings(encoder, texts).tolist()]


def make_learner(
    recipe: Recipe, tasks: tuple[Task, ...], stacking: Stacking | None = None
) -> Learner:
    """The recipe's learner at the beginning of its stream.

    Networks are drawn from torch's global random state.

    Args:
        recipe: of the run.
        tasks: of its stream.
        stacking: with the other learners of this process, if updates are computed with theirs.

    Raises:
        RecipeError: a task, text, size or device that cannot be used, or an agent whose updates
            only itself can compute.
    """
    check_machine(recipe)
    texts = [task.text for task in tasks]
    phrasings = taught_phrasings(tasks)
    # what draws here, as some packages do when they are imported, may not have done so in a
    # process that has imported them already
    with forked(recipe.seed):
        with at("recipe.encoder"), component_errors("encoder", recipe.encoder):
            encoder = recipe.encoder.prepare([*texts, *chain(*phrasings)])
        with at("recipe.encoder"):
            check_told_apart(tasks, checked_embeddings(encoder, texts))
        method = replace(recipe.method, encoder=encoder)
        env = tasks[0].make_env()
        sizes = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
        close(env)
    horizons = {task.horizon for task in tasks}
    problem = Problem(
        texts=texts,
        observation_dim=sizes[0],
        action_dim=sizes[1],
        steps_per_task=recipe.steps_per_task * tasks[0].together,
        horizon=horizons.pop() if len(horizons) == 1 else None,
        action_repeat=recipe.stream.action_repeat,
        seed=recipe.seed,
        device=recipe.device,
        learners=1 if stacking is None else stacking.learners,
        phrasings=phrasings,
        owners=owners(tasks),
        marks=[task.mark for task in tasks] if tasks[0].together > 1 else (),
        revisit=Revisits(tasks, recipe.seed),
    )
    with component_errors("agent", recipe.agent):
        learner = recipe.agent.learner(problem, method)
    wrong = None if isinstance(learner, Learner) else f"{learner!r:.80}"
    refuse_returned("agent", recipe.agent, "learner", "a Learner", wrong)
    if stacking is not None:
        if not isinstance(learner, Stackable):
            raise RecipeError(
                f"recipe.agent: the updates of {type(recipe.agent).__name__} cannot be computed "
                f"together with others'; run with --launcher local"
            )
        learner.stack(stacking.updater)
    return learner
