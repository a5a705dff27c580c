"""Episodes that are watched: a policy in a task's environment, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type, step_mdp

from cotasp.checks import check
from cotasp.continual.collection import check_finite
from cotasp.continual.evaluation import judged
from cotasp.continual.randomness import forked
from cotasp.continual.seeds import derive_seed
from cotasp.errors import CotaspError, RunError
from cotasp.film.episode import Episode
from cotasp.ranges import Seed
from cotasp.recipe import Evaluation
from cotasp.tasks.drawing import Drawn, check_pictures, checked_picture
from cotasp.tasks.simulator import SkipsFaults
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
    faults: Literal["stop", "skip"] = "stop",
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
        faults: what to do when the environment raises an error or returns a number that is not
            finite: `"stop"` raises; `"skip"` ends the episode there, as failed.

    Raises:
        RecipeError: no episode, or a size or a seed out of range.
        RunError: the environment cannot be drawn, on this machine or at all, or it failed.
    """
    check_pictures(episodes, size)
    check(Seed, seed, "seed")
    env = task.make_env(seed=derive_seed(seed, "play", task.env))
    try:
        if not isinstance(env, Drawn):
            raise RunError(
                f"{task.name}: {type(env).__name__} cannot be drawn: it has no begin_drawing and "
                "frame, see cotasp.tasks.drawing.Drawn"
            )
        env.begin_drawing(size)
        if isinstance(env, SkipsFaults):
            env.skip_faults = faults == "skip"
        deterministic = settings.mode == "deterministic"
        kind = ExplorationType.DETERMINISTIC if deterministic else ExplorationType.RANDOM
        with forked(seed), set_exploration_type(kind), torch.no_grad():
            played = [_episode(env, task, policy, settings, faults) for _ in range(episodes)]
    finally:
        cast(EnvBase, env).close()
    return [Episode(task.name, task.text if text is None else text, *each) for each in played]


def _episode(
    env: EnvBase, task: Task, policy: TensorDictModuleBase, settings: Evaluation, faults: str
) -> tuple[bool | float, float, int, tuple[np.ndarray, ...], tuple[bool, ...]]:
    """Success, return, steps, frames and whether each frame is of a success."""
    drawn = cast(Drawn, env)
    every = max(1, round((task.horizon or _HORIZON) / task.action_repeat / _FRAMES))
    steps: list[TensorDictBase] = []
    with _told(task, 0, faults):
        now = env.reset()
        check_finite(now, "reset")
        picture = drawn.frame()
    frames, solved, done = [checked_picture(task.name, picture)], [False], False
    while not done:
        decision = policy(now)
        with _told(task, (len(steps) + 1) * task.action_repeat, faults):
            after = env.step(decision)["next"]
            if faults == "stop":  # of one that is skipped the reward is NaN
                check_finite(after, "step")
            steps.append(after)
            done = bool(after["done"])
            if done or len(steps) % every == 0:
                frames.append(drawn.frame())
                solved.append(bool(after["success"]))
        now = step_mdp(now.set("next", after))
    data = torch.stack(steps).unsqueeze(0)
    success, _, _, total, length, _ = judged(data, task, settings.success, faults == "skip")
    return success.item(), float(total), int(length), tuple(frames), tuple(solved)


@contextmanager
def _told(task: Task, step: int, faults: str) -> Iterator[None]:
    """Names the task and its step in whatever its environment raises."""
    try:
        yield
    except Exception as error:  # a simulator raises whatever it likes
        known = isinstance(error, CotaspError)
        failure = str(error) if known else f"the environment failed: {error!r}"
        remedy = "" if faults == "skip" else "; mend it, or skip such episodes by faults=skip"
        raise RunError(f"playing task {task.name!r}, step {step}: {failure}{remedy}") from error
