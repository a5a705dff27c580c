"""A point in the plane, a toy with the shape of a continual-learning problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

SUCCESS_RADIUS = 0.2
_SPEED = 0.15  # largest velocity, per step and axis
_INERTIA = 0.5


class PointEnv(EnvBase):
    """A point in [-1, 1]² that is to move to a goal which it does not see.

    With position p, velocity v and action a,

        v ← v/2 + 0.075 a,   p ← clip(p + v, −1, 1),   reward = 1 − ‖p − goal‖,

    starting at rest, uniformly in [-0.5, 0.5]².  The observation is (p, v / 0.15), [4].  Success is
    ‖p − goal‖ < 0.2.  As the goal is not observed, two goals ask for different actions at equal
    observations: a policy that knows nothing of the task forgets one when it learns the other.

    `state_dict()` holds the generator and the episode under way, and is complete at any step.

    Args:
        goal: in [-1, 1]².
        horizon: steps until an episode is truncated, at least 1.
        num_envs: batch size `[num_envs]`, or `[]` for None.
        seed: first seed.
        action_repeat: steps that an action is held for; it divides the horizon.  The reward is
            their sum, all else of the last, but `succeeded`: whether any was a success.
    """

    def __init__(
        self,
        goal: tuple[float, float],
        horizon: int = 30,
        num_envs: int | None = None,
        seed: int = 0,
        action_repeat: int = 1,
    ):
        super().__init__(device=None, batch_size=[] if num_envs is None else [num_envs])
        shape, self._horizon, self.action_repeat = self.batch_size, horizon, action_repeat

        def flag() -> Binary:
            return Binary(shape=(*shape, 1), dtype=torch.bool)

        self.observation_spec = Composite(
            observation=Unbounded((*shape, 4), dtype=torch.float32),
            success=flag(),
            succeeded=flag(),
            shape=shape,
        )
        self.action_spec = Bounded(-1.0, 1.0, (*shape, 2), dtype=torch.float32)
        self.reward_spec = Unbounded((*shape, 1), dtype=torch.float32)
        self.done_spec = Composite(done=flag(), terminated=flag(), truncated=flag(), shape=shape)
        self._goal = torch.tensor(goal, dtype=torch.float32)
        self._position = torch.zeros(*shape, 2)
        self._velocity = torch.zeros(*shape, 2)
        self._steps = torch.zeros(*shape, 1, dtype=torch.int64)
        self._generator = torch.Generator()
        self._size = 0  # of a frame, in pixels
        self._trail: list[tuple[float, ...]] = []  # positions that have been drawn
        self.set_seed(seed)

    def _set_seed(self, seed: int | None) -> None:
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        chosen = None if tensordict is None else tensordict.get("_reset", None)
        if chosen is None:
            chosen = torch.ones_like(self._steps, dtype=torch.bool)
        chosen = chosen.reshape(self._steps.shape)
        start = torch.rand(self._position.shape, generator=self._generator) - 0.5
        self._position = torch.where(chosen, start, self._position)
        self._velocity = torch.where(chosen, 0.0, self._velocity)
        self._steps = torch.where(chosen, 0, self._steps)
        self._trail = []
        return self._pack(*torch.zeros_like(chosen).expand(3, *chosen.shape))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        action = tensordict.get("action").detach().clamp(-1.0, 1.0)
        chosen = tensordict.get("_step", None)
        if chosen is None:
            chosen = torch.ones_like(self._steps, dtype=torch.bool)
        chosen = chosen.reshape(self._steps.shape)  # the others stay as they are
        position, velocity = self._position, self._velocity
        reward, succeeded = 0.0, torch.zeros_like(chosen)
        for _ in range(self.action_repeat):
            velocity = _INERTIA * velocity + (1 - _INERTIA) * _SPEED * action
            position = (position + velocity).clamp(-1.0, 1.0)
            distance = torch.linalg.vector_norm(position - self._goal, dim=-1, keepdim=True)
            success = distance < SUCCESS_RADIUS
            reward, succeeded = reward + 1.0 - distance, success | succeeded
        self._position = torch.where(chosen, position, self._position)
        self._velocity = torch.where(chosen, velocity, self._velocity)
        self._steps = torch.where(chosen, self._steps + self.action_repeat, self._steps)
        ended = self._steps >= self._horizon
        packed = self._pack(chosen & success, chosen & succeeded, chosen & ended)
        packed.set("reward", torch.where(chosen, reward, 0.0))
        return packed

    def _pack(
        self, success: torch.Tensor, succeeded: torch.Tensor, truncated: torch.Tensor
    ) -> TensorDict:
        return TensorDict(
            {
                "observation": torch.cat([self._position, self._velocity / _SPEED], -1),
                "success": success,
                "succeeded": succeeded,
                "done": truncated.clone(),
                "terminated": torch.zeros_like(truncated),
                "truncated": truncated,
            },
            batch_size=self.batch_size,
        )

    def _step_proc_data(self, next_tensordict_out: TensorDictBase) -> TensorDictBase:
        return next_tensordict_out  # complete and of the right shapes already: nothing to add

    def begin_drawing(self, size: int) -> None:
        """Prepares for frames of size x size."""
        self._size = size

    def frame(self) -> np.ndarray:
        """Goal, way so far and position of the first environment, [size, size, 3] uint8."""
        from PIL import Image, ImageDraw

        fine = 2 * self._size  # drawn twice as large: edges come out smooth
        image = Image.new("RGB", (fine, fine), "#f4f4f1")
        draw, unit = ImageDraw.Draw(image), fine / 2.4

        def place(x: float, y: float) -> tuple[float, float]:
            return fine / 2 + x * unit, fine / 2 - y * unit

        def disc(centre: Sequence[float], radius: float, **look: Any) -> None:
            (h, v), r = place(*centre), radius * unit
            draw.ellipse([h - r, v - r, h + r, v + r], **look)

        self._trail.append(tuple(self._position.reshape(-1, 2)[0].tolist()))
        draw.rectangle([*place(-1, 1), *place(1, -1)], outline="#bbbbb5", width=3)
        disc(self._goal.tolist(), SUCCESS_RADIUS, fill="#cfe8cf", outline="#3a9a4a", width=4)
        if len(self._trail) > 1:
            draw.line([place(*each) for each in self._trail], fill="#8fb3e0", width=5)
        disc(self._trail[-1], 0.06, fill="#1f5fb4")
        return np.asarray(image.resize((self._size, self._size), Image.Resampling.BOX))

    def get_extra_state(self) -> dict[str, torch.Tensor]:
        """Generator and episode, as tensors."""
        return {
            "generator": self._generator.get_state(),
            "position": self._position.clone(),
            "velocity": self._velocity.clone(),
            "steps": self._steps.clone(),
        }

    def set_extra_state(self, state: dict[str, torch.Tensor]) -> None:
        """Takes back what `get_extra_state` gave.

        Raises:
            ValueError: it comes from another batch size.
        """
        if state["steps"].shape != self._steps.shape:
            raise ValueError(
                f"state of batch size {list(state['steps'].shape[:-1])} for an environment of "
                f"{list(self.batch_size)}; build it with the num_envs it was saved with"
            )
        self._generator.set_state(state["generator"])
        self._position = state["position"].clone()
        self._velocity = state["velocity"].clone()
        self._steps = state["steps"].clone()
