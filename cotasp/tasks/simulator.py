"""A TorchRL environment around simulators that are stepped one by one from Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

from cotasp.errors import RunError
from cotasp.tasks import answers
from cotasp.tasks.answers import Simulator
from cotasp.tasks.closing import close
from cotasp.tasks.drawing import Drawn
from cotasp.tasks.record import Record, record_of


@runtime_checkable
class HasActionRange(Protocol):
    """A simulator whose actions in [-1, 1] stand for those of another range."""

    @property
    def low(self) -> np.ndarray:
        """The action that -1 stands for, [n_act]."""

    @property
    def high(self) -> np.ndarray:
        """The action that 1 stands for, [n_act]."""


@runtime_checkable
class SkipsFaults(Protocol):
    """An environment that can go on after a fault of what it simulates.

    Attributes:
        skip_faults: whether a simulator that raises, or returns a number that is not finite, ends
            its episode there, without success and with NaN for a reward, and is counted; otherwise
            what it raises passes.
        faults: that were skipped so far.
    """

    skip_faults: bool

    @property
    def faults(self) -> int: ...


@runtime_checkable
class ScalesActions(Protocol):
    """An environment whose actions in [-1, 1] may stand for those of another range."""

    @property
    def action_range(self) -> tuple[list[float], list[float]] | None:
        """The actions that -1 and 1 stand for, [n_act] each; None: themselves."""


RESETS = 10  # that are tried in a row where faults are skipped
_FLAGS = ("done", "terminated", "truncated", "success", "succeeded")


class SimulatorEnv(EnvBase):
    """Simulators in a plain loop, as one environment of batch size `[n]`, or `[]` for one.

    Simulators of 0.1 to 1 ms per step leave no room for one TensorDict each: all write into the
    same arrays.  Every step's arrays are new ones, so what was collected is never overwritten.

    `state_dict()` is complete at any step.  It holds no physics, but the random state from which
    each simulator's episode began, the actions taken since and what came of them: an environment
    that loads it begins those episodes anew, repeats the actions, sees that the same came of them,
    and continues bit for bit.

    Args:
        simulators: all of one kind.
        batched: batch size `[n]` rather than `[]`.
        seed: first seed.
        action_repeat: simulator steps that an action is held for, fewer where the episode ends.
            The reward is their sum, all else is of the last, but `succeeded`: whether any was a
            success.

    Attributes:
        skip_faults: whether a simulator that raises, or returns a number that is not finite, ends
            its episode there, without success and with NaN for a reward, and is counted; otherwise
            what it raises passes.
        faults: that were skipped so far.

    Raises:
        ValueError: no simulator, or more than one without a batch.
    """

    def __init__(
        self, simulators: Sequence[Simulator], batched: bool, seed: int, action_repeat: int = 1
    ):
        if not simulators or (len(simulators) > 1 and not batched):
            raise ValueError(f"batched={batched} does not go with {len(simulators)} simulators")
        super().__init__(device=None, batch_size=[len(simulators)] if batched else [])
        self.simulators = list(simulators)
        self.action_repeat = action_repeat
        self.skip_faults = False
        self.faults = 0
        n_obs, n_act = simulators[0].n_obs, simulators[0].n_act
        shape = self.batch_size
        self._obs_shape, self._one_shape = (*shape, n_obs), (*shape, 1)
        self._observation = np.zeros((len(simulators), n_obs), np.float32)  # of the last step
        # of each simulator's episode; None before its first reset, and after a fault
        self._records: list[Record | None] = [None] * len(simulators)
        self._drawn: Drawn | None = None

        def flag() -> Binary:
            return Binary(shape=self._one_shape, dtype=torch.bool)

        self.observation_spec = Composite(
            observation=Unbounded(self._obs_shape, dtype=torch.float32),
            success=flag(),
            succeeded=flag(),
            shape=shape,
        )
        self.action_spec = Bounded(-1.0, 1.0, (*shape, n_act), dtype=torch.float32)
        self.reward_spec = Unbounded(self._one_shape, dtype=torch.float32)
        self.done_spec = Composite(done=flag(), terminated=flag(), truncated=flag(), shape=shape)
        self.set_seed(seed)
        self.is_closed = False

    @property
    def action_range(self) -> tuple[list[float], list[float]] | None:
        """The actions that -1 and 1 stand for, [n_act] each; None: themselves."""
        first = self.simulators[0]
        if not isinstance(first, HasActionRange):
            return None
        return first.low.tolist(), first.high.tolist()

    def _set_seed(self, seed: int | None) -> None:
        seeds = np.random.SeedSequence(seed).generate_state(len(self.simulators))
        for i, (simulator, own) in enumerate(zip(self.simulators, seeds)):
            simulator.seed(int(own))
            self._records[i] = None

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        observation = self._observation.copy()
        flags = np.zeros((len(_FLAGS), len(self.simulators), 1), np.bool_)
        chosen = self._chosen(tensordict, "_reset")
        for i in range(len(self.simulators)):
            if chosen is None or chosen[i]:
                observation[i] = self._start(i)
        return self._pack(observation, flags)

    def _start(self, i: int) -> np.ndarray:
        """The first observation of a simulator's next episode; after a fault, of the one after."""
        simulator, attempts = self.simulators[i], RESETS if self.skip_faults else 1
        ended = self._records[i]
        before = None if ended is None else ended.follow()
        while True:
            attempts -= 1
            self._records[i] = Record(simulator.rng_state(), before=before)
            try:
                observation = answers.reset(simulator)
                if not self.skip_faults or np.isfinite(observation).all():
                    return observation
                error: Exception = RunError("it returned an observation that is not finite")
            except Exception as raised:
                error = raised
            if attempts < 1:
                raise error
            self.faults += 1

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        n = len(self.simulators)
        actions = tensordict.get("action").numpy(force=True).reshape(n, -1)
        observation = self._observation.copy()
        reward = np.zeros((n, 1), np.float32)
        flags = np.zeros((len(_FLAGS), n, 1), np.bool_)
        chosen = self._chosen(tensordict, "_step")
        for i, simulator in enumerate(self.simulators):
            if chosen is None or chosen[i]:
                record = self._records[i]
                if record is not None:
                    record.begin_step(actions[i])
                try:
                    now, gained, signals = self._act(simulator, actions[i])
                    if self.skip_faults and not (np.isfinite(gained) and np.isfinite(now).all()):
                        raise RunError("it returned a number that is not finite")
                except Exception:
                    self._records[i] = None  # over: nothing is to be repeated
                    if not self.skip_faults:
                        raise
                    self.faults += 1
                    now, gained, signals = observation[i], np.nan, (True, False, False, False)
                else:
                    if record is not None:
                        record.end_step(gained, signals)
                observation[i], reward[i], flags[1:, i, 0] = now, gained, signals
        flags[0] = flags[1] | flags[2]
        packed = self._pack(observation, flags)
        packed.set("reward", torch.from_numpy(reward).view(self._one_shape))
        return packed

    def _act(
        self, simulator: Simulator, action: np.ndarray
    ) -> tuple[np.ndarray, float, tuple[bool, ...]]:
        """Observation, reward and the flags after `done`, of an action held."""
        total, succeeded = 0.0, False
        for _ in range(self.action_repeat):
            observation, reward, terminated, truncated, success = answers.step(simulator, action)
            total, succeeded = total + reward, succeeded or success
            if terminated or truncated:
                break
        return observation, total, (terminated, truncated, success, succeeded)

    def _chosen(self, tensordict: TensorDictBase | None, key: str) -> list[bool] | None:
        """Which simulators a partial reset or step means; None is all of them."""
        chosen = None if tensordict is None else tensordict.get(key, None)
        if chosen is None or bool(chosen.all()):
            return None
        return chosen.reshape(len(self.simulators), -1).any(-1).tolist()

    def _pack(self, observation: np.ndarray, flags: np.ndarray) -> TensorDict:
        self._observation = observation
        fields = dict(zip(_FLAGS, torch.from_numpy(flags).view(-1, *self._one_shape).unbind(0)))
        fields["observation"] = torch.from_numpy(observation).view(self._obs_shape)
        return TensorDict(fields, batch_size=self.batch_size)

    def _step_proc_data(self, next_tensordict_out: TensorDictBase) -> TensorDictBase:
        return next_tensordict_out  # complete and of the right shapes already: nothing to add

    def get_extra_state(self) -> torch.Tensor:
        """The state as JSON in a uint8 tensor, which any checkpoint format can hold."""
        states = [
            {"random": simulator.rng_state()}
            if record is None
            else {"record": record.state(), "observation": observation.tolist()}
            for simulator, record, observation in zip(
                self.simulators, self._records, self._observation
            )
        ]
        return torch.frombuffer(bytearray(json.dumps(states), "utf-8"), dtype=torch.uint8).clone()

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Takes back what `get_extra_state` gave.

        Raises:
            ValueError: it comes from another number of simulators.
            RunError: an episode could not be repeated, because the simulator is not a function of
                its seed and the actions.
        """
        states = json.loads(bytes(state.tolist()).decode("utf-8"))
        if len(states) != len(self.simulators):
            raise ValueError(
                f"state of {len(states)} simulators for an environment of "
                f"{len(self.simulators)}; build it with the num_envs it was saved with"
            )
        self._observation = self._observation.copy()  # what was given away is never overwritten
        for i, (simulator, own) in enumerate(zip(self.simulators, states)):
            self._records[i] = None
            if "record" not in own:
                simulator.set_rng_state(own["random"])
                continue
            record = record_of(own["record"])
            self._observation[i] = record.repeat(simulator, self._act)
            if not np.array_equal(self._observation[i], np.array(own["observation"], np.float32)):
                raise record.not_repeated(simulator, "another observation")
            self._records[i] = record

    def begin_drawing(self, size: int) -> None:
        """Prepares the first simulator for frames, see `cotasp.tasks.drawing.Drawn`.

        Raises:
            RunError: it cannot be drawn.
        """
        simulator = self.simulators[0]
        if not isinstance(simulator, Drawn):
            raise RunError(
                f"{type(simulator).__name__} cannot be drawn: it has no begin_drawing and frame, "
                "see cotasp.tasks.drawing.Drawn"
            )
        simulator.begin_drawing(size)
        self._drawn = simulator

    def frame(self) -> np.ndarray:
        """The first simulator's state as a picture, [height, width, 3] uint8."""
        if self._drawn is None:
            raise RunError(f"{type(self).__name__}.frame: call begin_drawing first")
        return self._drawn.frame()

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Closes every simulator; a second call does nothing."""
        if not self.is_closed:
            for simulator in self.simulators:
                close(simulator)
        super().close(raise_if_closed=raise_if_closed)
