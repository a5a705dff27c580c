"""Episodes that are watched: a policy in a task's environment, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type, step_mdp

from cotasp.continual.randomness import forked
from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError
from cotasp.film.episode import Episode
from cotasp.recipe import Evaluation
from cotasp.tasks.drawing import Drawn, check_pictures, checked_picture
from cotasp.tasks.task import Task

if TYPE_CHECKING:
    import numpy as np

SIZE = 240  # pixels
_FRAMES = 50  # of an episode, about
_HORIZON = 200  # steps, where the environment keeps its own to itself


def watch(
    task: Task,
    policy: TensorDictModuleBase,
    settings: Evaluation,
    *,
    text: str | None = None,
    episodes: int = 1,
    seed: int = 0,
    size: int = SIZE,
) -> list[Episode]:
    """Episodes of a policy in a task's environment.

    Args:
        task: whose environment it is.
        policy: `observation` to `action`.
        settings: how it acts, and which success counts.
        text: the sentence that the policy comes from; None: the task's own.
        episodes: at least 1.
        seed: equal seeds give equal episodes.
        size: of a frame in pixels, 64 to 1,024; environments that draw themselves have their own.

    Raises:
        RecipeError: no episode, or a size out of range.
        RunError: the environment cannot be drawn, on this machine or at all.
    """
    check_pictures(episodes, size)
    env = task.make_env(seed=derive_seed(seed, "play", task.env))
    try:
        if not isinstance(env, Drawn):
            raise RunError(
                f"{task.name}: {type(env).__name__} cannot be drawn: it has no begin_drawing and "
                "frame, see cotasp.tasks.drawing.Drawn"
            )
        env.begin_drawing(size)
        deterministic = settings.mode == "deterministic"
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with forked(seed), set_exploration_type(kind), torch.no_grad():
            played = [_episode(env, task, policy, settings) for _ in range(episodes)]
    finally:
        cast(EnvBase, env).close()
    return [Episode(task.name, task.text if text is None else text, *each) for each in played]


def _episode(
    env: EnvBase, task: Task, policy: TensorDictModuleBase, settings: Evaluation
) -> tuple[bool | float, float, int, tuple[np.ndarray, ...], tuple[bool, ...]]:
    """Success, return, steps, frames and whether each frame is of a success."""
    drawn = cast(Drawn, env)
    every = max(1, round((task.horizon or _HORIZON) / task.action_repeat / _FRAMES))
    now = env.reset()
    frames, solved = [checked_picture(task.name, drawn.frame())], [False]
    total, actions, anywhere, done = 0.0, 0, False, False
    while not done:
        after = env.step(policy(now))["next"]
        total += float(after["reward"])
        actions += 1
        last = bool(after["success"])
        anywhere = anywhere or bool(after.get("succeeded", after["success"]))
        done = bool(after["done"])
        if done or actions % every == 0:
            frames.append(drawn.frame())
            solved.append(last)
        now = step_mdp(now.set("next", after))
    success = task.judged(total, last if settings.success == "last" else anywhere)
    return success, total, actions * task.action_repeat, tuple(frames), tuple(solved)
