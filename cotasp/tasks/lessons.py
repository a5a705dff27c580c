"""Lessons: what is learned at once, one task as a rule, or several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from cotasp.errors import RecipeError
from cotasp.tasks.sentences import normal_form
from cotasp.tasks.task import Task

if TYPE_CHECKING:
    from torchrl.envs import EnvBase


def lesson_of(tasks: Sequence[Task], index: int) -> Sequence[Task]:
    """The tasks that are learned together with one of a stream, itself included."""
    first = index - tasks[index].part
    return tasks[first : first + tasks[index].together]


def check_lessons(tasks: Sequence[Task]) -> None:
    """Raises RecipeError unless a stream's tasks are lessons of one size, one after the other."""
    together = tasks[0].together
    for i, task in enumerate(tasks):
        expected, got = (together, i % together), (task.together, task.part)
        if got != expected or len(tasks) % together:
            raise RecipeError(
                f"lessons: expected {len(tasks)} tasks in lessons of equal size, task {i} "
                f"({task.name!r}) as part {expected[1]} of {expected[0]}, got part {got[1]} of "
                f"{got[0]}"
            )


def lesson_name(lesson: Sequence[Task]) -> str:
    """What messages call it: its task's name, or the first's and how many more there are."""
    more = f" and {len(lesson) - 1} more" if len(lesson) > 1 else ""
    return f"{lesson[0].name}{more}"


def taught_phrasings(tasks: Sequence[Task]) -> list[tuple[str, ...]]:
    """Of each task the texts, besides its own, that are to lead to the same policy: its phrasings,
    and for the first of a lesson those of all its tasks; of those of one normal form the first.
    """
    phrasings = []
    for i, task in enumerate(tasks):
        together = lesson_of(tasks, i) if task.part == 0 else [task]
        texts = {normal_form(task.text): task.text}
        for text in chain.from_iterable(each.texts for each in together):
            texts.setdefault(normal_form(text), text)
        phrasings.append(tuple(texts.values())[1:])
    return phrasings


def make_lesson(tasks: Sequence[Task], num_envs: int | None = None, seed: int = 0) -> EnvBase:
    """The environment in which a lesson is learned: its task's own, or a `LessonEnv`.

    Args:
        tasks: of the lesson.
        num_envs, seed: as of `Task.make_env`.

    Raises:
        PluginError: as `Task.make_env`.
    """
    if len(tasks) == 1:
        return tasks[0].make_env(num_envs, seed)
    from cotasp.tasks.lesson_env import LessonEnv

    seeds = np.random.SeedSequence(seed).generate_state(len(tasks)).tolist()
    parts = [task.make_part(num_envs, own) for task, own in zip(tasks, seeds)]
    return LessonEnv(parts, [task.mark for task in tasks])
