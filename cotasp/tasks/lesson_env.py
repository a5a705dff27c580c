"""Environments of several tasks as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torchrl.data import Composite, Unbounded
from torchrl.envs import EnvBase

from cotasp.errors import RunError
from cotasp.tasks.closing import close
from cotasp.tasks.drawing import Drawn
from cotasp.tasks.simulator import ScalesActions, SkipsFaults


class LessonEnv(EnvBase):
    """Environments of several tasks as one, which goes on to the next task with every episode.

    The observation ends with the mark of the task: [n_obs + length of a mark].  In a batch each
    place goes through the tasks by itself, beginning with another one.

    `state_dict()` is complete if those of the tasks' environments are.

    Args:
        parts: environments of equal sizes and batch sizes.
        marks: of each, of equal lengths; empty ones tell nothing.
    """

    def __init__(self, parts: Sequence[EnvBase], marks: Sequence[Sequence[float]]) -> None:
        first = parts[0]
        super().__init__(device=None, batch_size=first.batch_size)
        self.parts = nn.ModuleList(parts)  # whose state_dict is then part of this one's
        self._marks = torch.tensor(marks, dtype=torch.float32)  # not of the state: the task's
        shape = self.batch_size
        spec = first.observation_spec.clone()
        length = spec["observation"].shape[-1] + self._marks.shape[-1]
        spec["observation"] = Unbounded((*shape, length), dtype=torch.float32)
        self.observation_spec = spec
        self.action_spec = first.action_spec.clone()
        self.reward_spec = first.reward_spec.clone()
        self.done_spec = cast(Composite, first.done_spec).clone()
        self._turn = self._first_turn()
        self.is_closed = False

    @property
    def _environments(self) -> list[EnvBase]:
        return [cast(EnvBase, part) for part in self.parts]

    def _first_turn(self) -> Tensor:
        """Of each place of the batch, whose turn was before its first, int64 [*batch, 1]."""
        places = torch.arange(self.batch_size.numel()) - 1
        return places.reshape(*self.batch_size, 1) % len(self.parts)

    def _set_seed(self, seed: int | None) -> None:
        self._turn = self._first_turn()
        seeds = np.random.SeedSequence(seed).generate_state(len(self.parts)).tolist()
        for part, own in zip(self._environments, seeds):
            part.set_seed(seed if len(self.parts) == 1 else own)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        chosen = self._chosen(tensordict, "_reset")
        self._turn = torch.where(chosen, (self._turn + 1) % len(self.parts), self._turn)
        return self._of_parts("_reset", chosen)

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        chosen = self._chosen(tensordict, "_step")
        return self._of_parts("_step", chosen, action=tensordict["action"])

    def _chosen(self, tensordict: TensorDictBase | None, key: str) -> Tensor:
        """Which places a partial reset or step means, bool [*batch, 1]."""
        chosen = None if tensordict is None else tensordict.get(key, None)
        if chosen is None:
            return torch.ones_like(self._turn, dtype=torch.bool)
        return chosen.reshape(self._turn.shape)

    def _of_parts(self, method: str, chosen: Tensor, **values: Tensor) -> TensorDict:
        """What the environments whose turn it is return, each in its places of the batch."""
        result: TensorDict | None = None
        for number, part in enumerate(self._environments):
            places = self._turn == number
            if not places.any():
                continue
            request = TensorDict({**values, method: chosen & places}, batch_size=self.batch_size)
            answer = getattr(part, method)(request)
            if result is None:
                result = answer
                continue
            here, ours = places, answer
            result = TensorDict(
                {key: torch.where(here, ours[key], value) for key, value in result.items()},
                batch_size=self.batch_size,
            )
        assert result is not None  # it is somebody's turn in every place
        mark = self._marks[self._turn.squeeze(-1)]
        result["observation"] = torch.cat([result["observation"], mark], -1)
        return result

    def _step_proc_data(self, next_tensordict_out: TensorDictBase) -> TensorDictBase:
        return next_tensordict_out  # complete and of the right shapes already: nothing to add

    def get_extra_state(self) -> dict[str, Tensor]:
        """Whose turn it is."""
        return {"turn": self._turn.clone()}

    def set_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `get_extra_state` gave."""
        self._turn = state["turn"].clone()

    @property
    def skip_faults(self) -> bool:
        """Whether faults of simulators are skipped, where they can be."""
        return any(part.skip_faults for part in self.parts if isinstance(part, SkipsFaults))

    @skip_faults.setter
    def skip_faults(self, skip: bool) -> None:
        for part in self.parts:
            if isinstance(part, SkipsFaults):
                part.skip_faults = skip

    @property
    def faults(self) -> int:
        """That were skipped so far."""
        return sum(part.faults for part in self.parts if isinstance(part, SkipsFaults))

    @property
    def action_range(self) -> tuple[list[float], list[float]] | None:
        """The actions that -1 and 1 stand for in the first environment; None: themselves."""
        first = self.parts[0]
        return first.action_range if isinstance(first, ScalesActions) else None

    def begin_drawing(self, size: int) -> None:
        """Prepares the first environment for frames.

        Raises:
            RunError: it cannot be drawn.
        """
        first = self.parts[0]
        if not isinstance(first, Drawn):
            raise RunError(f"{type(first).__name__} cannot be drawn: it has no begin_drawing")
        first.begin_drawing(size)

    def frame(self) -> np.ndarray:
        """The first environment's state as a picture, [height, width, 3] uint8."""
        return cast(Drawn, self.parts[0]).frame()

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Closes every environment; a second call does nothing."""
        if not self.is_closed:
            for part in self.parts:
                close(part)
        super().close(raise_if_closed=raise_if_closed)
