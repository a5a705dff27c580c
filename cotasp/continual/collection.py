"""Collecting a task's transitions from an environment that can be left and returned to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.continual.seeds import derive_seed
from cotasp.errors import RunError
from cotasp.tasks.closing import close

ISOLATED = 100  # faults of one task that can still be called so


class Collection:
    """Steps an environment with a policy that explores, batch after batch.

    What TorchRL's `Collector` does for one environment, with a state that can be saved in the
    middle of an episode.

    Args:
        env: of the task, of batch size [] or [n]; closed by `close`.
        policy: `observation`, and `is_init` if it asks for it, to `action`.
        task: its name, for messages.
        action_repeat: environment steps of one transition.
        faults: what to do when the environment raises an error or returns a number that is not
            finite: `"stop"` raises, `"skip"` drops the step and begins a new episode, in every
            environment of a batch.
        seed: of episodes that begin where an environment cannot be brought back.
    """

    def __init__(
        self,
        env: EnvBase,
        policy: TensorDictModuleBase,
        task: str,
        action_repeat: int = 1,
        faults: Literal["stop", "skip"] = "stop",
        seed: int = 0,
    ) -> None:
        self.env = env
        self.policy = policy
        self.task = task
        self.action_repeat = action_repeat
        self.on_fault = faults
        self.seed = seed
        self.steps = 0
        self.faults = 0
        self._now: TensorDictBase | None = None  # what the next action answers to

    def collect(self, steps: int) -> TensorDictBase:
        """The transitions of the next steps, [steps / action_repeat]; of an environment of batch
        size [n], [n, steps / action_repeat / n].

        `is_init` tells which of them begin an episode.

        Raises:
            RunError: a fault of the environment, or too many of them.
        """
        frames: list[TensorDictBase] = []
        each = self.action_repeat * self.env.batch_size.numel()
        with torch.no_grad(), set_exploration_type(ExplorationType.RANDOM):
            if self._now is None:
                self._now = self._begin()
            while len(frames) * each < steps:
                frame = self._step(self._now)
                if frame is not None:
                    frames.append(frame)
                    self.steps += each
        return torch.stack(frames, -1)

    def _begin(self) -> TensorDictBase:
        """A new episode; where its reset is a fault that is skipped, another one."""
        while True:
            try:
                now = self.env.reset()
                check_finite(now, "reset")
                return now.set("is_init", torch.ones_like(now["done"]))
            except Exception as error:
                self._fault(error)

    def _step(self, now: TensorDictBase) -> TensorDictBase | None:
        """One step; None where it was a fault that is skipped."""
        decision = self.policy(now)
        try:
            frame, following = self.env.step_and_maybe_reset(decision)
            check_finite(frame["next"], "step")
            check_finite(following, "reset")
        except Exception as error:  # a simulator raises whatever it likes
            self._fault(error)
            self._now = self._begin()
            return None
        self._now = following.set("is_init", frame["next", "done"].clone())
        return frame

    def _fault(self, error: Exception) -> None:
        """Counts a fault; raises RunError if it is not to be skipped, or one too many."""
        what = str(error) if isinstance(error, RunError) else f"the environment failed: {error!r}"
        place = f"task {self.task!r}, step {self.steps + 1}"
        if self.on_fault == "stop":
            raise RunError(f"{place}: {what}; the run stops before it learns from it") from error
        self.faults += 1
        if self.faults > ISOLATED:
            raise RunError(f"{place}: {what}; {self.faults} faults are no isolated ones") from error

    def state_dict(self) -> dict[str, Any]:
        """Where the environment stands, the episode under way included."""
        written = self.policy.out_keys
        return {
            "steps": self.steps,
            "faults": self.faults,
            "env": dict(self.env.state_dict()),
            "now": None if self._now is None else self._now.exclude(*written).to_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        An environment that cannot be brought back begins a new episode, with a warning.

        Raises:
            ValueError: the state is of another environment.
        """
        self.steps, self.faults = int(state["steps"]), int(state["faults"])
        if state["now"] is None:
            return
        for key, spec in (*self.env.observation_spec.items(), *self.env.done_spec.items()):
            if not spec.is_in(state["now"][key]):
                raise ValueError(f"{key}: expected what the environment's spec says")
        try:
            if not state["env"]:
                raise RunError(f"{type(self.env).__name__} has no state_dict")
            self.env.load_state_dict(state["env"])
            self._now = TensorDict(state["now"], batch_size=self.env.batch_size)
        except Exception as error:  # an environment raises whatever it likes
            self.env.set_seed(derive_seed(self.seed, "again", self.steps))
            reason = str(error) if isinstance(error, RunError) else repr(error)
            warnings.warn(
                f"task {self.task!r}: {reason}; a new episode begins, so that the run goes on, but "
                f"not bit for bit as it would have done",
                stacklevel=2,
            )

    def close(self) -> None:
        """Closes the environment."""
        if not self.env.is_closed:
            close(self.env)


def check_finite(data: TensorDictBase, call: str) -> None:
    """Raises RunError for an observation or a reward of an environment that is not finite.

    Args:
        data: what it returned.
        call: from what, `"reset"` or `"step"`.
    """
    for article, key in (("an", "observation"), ("a", "reward")):
        value = data.get(key, None)
        if value is not None and not bool(torch.isfinite(value).all()):
            raise RunError(
                f"the environment returned {article} {key} that is not finite from its {call}"
            )
