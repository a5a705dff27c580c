"""What a task is: a text and an environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cotasp.errors import CotaspError, PluginError

if TYPE_CHECKING:
    from torchrl.envs import EnvBase

Returning = Literal["new", "same", "recall"]


@dataclass(frozen=True)
class Task:
    """One visit of a stream: a text, and the environment in which to do what it says.

    Args:
        name: unique within its stream; the second visit of an environment is `"<env>#2"`.
        text: what a text encoder reads.
        phrasings: other texts that are to lead to the same policy.
        env: the environment's own name; within a stream, equal names build equal environments.
        build: `(num_envs, seed) -> EnvBase`.
        horizon: environment steps until an episode is truncated; None: unknown.
        action_repeat: environment steps that the environment holds each action for.
        return_range: returns that count as 0 and as 1, where episodes are judged by their return;
            None: they are by their success.
        returning: what becomes of the task if its text has come before in the stream: `"new"`: it
            is learned as any other; `"same"`: the first task with that text goes on; `"recall"`:
            that task's policy is taken as it is, and nothing is learned.
        together: tasks of its lesson, which are learned at once, by one policy.
        part: its number in the lesson, from 0.
        mark: numbers that tell which task it is, at the end of each observation; of a lesson of
            several, the number in it, one-hot, unless the recipe says otherwise.
    """

    name: str
    text: str
    env: str
    build: Callable[[int | None, int], EnvBase] = field(repr=False, compare=False)
    horizon: int | None = None
    action_repeat: int = 1
    phrasings: tuple[str, ...] = ()
    return_range: tuple[float, float] | None = None
    returning: Returning = "new"
    together: int = 1
    part: int = 0
    mark: tuple[float, ...] = field(default=(), repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The task's own text, and then its other phrasings."""
        return (self.text, *self.phrasings)

    def judged(self, episode_return: float, success: bool) -> bool | float:
        """What an episode counts as: its success or, where episodes are judged by their return,
        where that lies in `return_range`, in [0, 1].
        """
        if self.return_range is None:
            return success
        low, high = self.return_range
        return min(1.0, max(0.0, (episode_return - low) / (high - low)))

    def make_env(self, num_envs: int | None = None, seed: int = 0) -> EnvBase:
        """A new environment of this task.

        Its keys are `observation` float32 [*, n_obs], `action` float32 [*, n_act] in [-1, 1],
        `reward` float32 [*, 1], and the flags `done`, `terminated`, `truncated`, `success`,
        bool [*, 1].  `success` speaks of the last step alone, `succeeded` (if it is there) of all
        steps that the action was held for; both are False after a reset.  A time limit sets
        `truncated` and never `terminated`, so its value is to be bootstrapped.  Its
        `state_dict()` brings it back to any step, the random state included: without, a run that
        is resumed begins a new episode, with a warning.

        Args:
            num_envs: batch size `[num_envs]`; None is a single environment, batch size `[]`.
            seed: equal seeds give equal resets; `set_seed` sets it anew.

        Raises:
            PluginError: building it failed; the library's own errors pass.
        """
        return self.marked(self.make_part(num_envs, seed))

    def marked(self, part: EnvBase) -> EnvBase:
        """The task's environment, of what `make_part` made, for this task or one of the same
        `env`.
        """
        if not self.mark:
            return part
        from cotasp.tasks.lesson_env import LessonEnv

        return LessonEnv([part], [self.mark])

    def make_part(self, num_envs: int | None, seed: int) -> EnvBase:
        """As `make_env`, without the mark."""
        try:
            return self.build(num_envs, seed)
        except CotaspError:
            raise
        except Exception as error:  # a simulator raises whatever it likes
            raise PluginError(
                f"task {self.name!r}: its environment {self.env} cannot be built: "
                f"{type(error).__name__}: {error}; --debug shows where"
            ) from error


def owners(tasks: Sequence[Task]) -> tuple[int, ...]:
    """For each task, the number of the one whose policy it has: itself, unless it returns; of a
    lesson of several, the first.
    """
    first: dict[str, int] = {}
    return tuple(
        i - task.part if task.returning == "new" else first.setdefault(task.text, i)
        for i, task in enumerate(tasks)
    )
