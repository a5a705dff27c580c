"""Gymnasium environments with Box spaces as TorchRL environments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from cotasp.errors import RunError
from cotasp.tasks.answers import flag
from cotasp.tasks.closing import close
from cotasp.tasks.drawing import checked_picture, choose_gl
from cotasp.tasks.generators import (
    generator_states,
    global_states,
    set_generator_states,
    set_global_states,
)
from cotasp.tasks.gym_making import boxes, make, with_statistics
from cotasp.tasks.simulator import SimulatorEnv

_SUCCESS = ("success", "is_success")  # keys of `info`, the first that is there counts


class GymnasiumSimulator:
    """One Gymnasium environment: flat float32 observations, actions mapped from [-1, 1].

    Actions of an integer dtype are rounded to the nearest.  Success is `info["success"]`, or else
    `info["is_success"]`, where the environment reports one of them; otherwise the last step of an
    episode is one if the episode's return reaches `success_return`.

    Args:
        build: makes the environment by `make`, perhaps wrapped; takes further settings of `make`.
        success_return: see above; None: no return is a success.
        scored_by_return: whether nobody asks for success, so that its lack is nothing to warn of.
    """

    def __init__(
        self,
        build: Callable[..., gymnasium.Env],
        success_return: float | None = None,
        scored_by_return: bool = False,
    ):
        self._build = build
        self._env = build()
        self._with_statistics = any(with_statistics(self._env))
        observation, space = boxes(self._env)
        self.n_obs = int(np.prod(observation.shape))
        self.n_act = space.shape[0]
        self.low, self.high, self._dtype = space.low, space.high, space.dtype
        self._center = (space.high.astype(np.float64) + space.low) / 2
        self._half_range = (space.high.astype(np.float64) - space.low) / 2
        self._success_return = success_return
        self._told = scored_by_return or success_return is not None  # how success is judged
        self._return = 0.0
        self._seed: int | None = None  # of the next reset
        self._first_seed: int | None = None

    def seed(self, seed: int) -> None:
        """Seeds the next reset and all that follows."""
        if self._with_statistics and self._first_seed is not None:  # they begin anew, too
            close(self._env)
            self._env = self._build()
        self._seed = self._first_seed = seed

    def reset(self) -> np.ndarray:
        """Starts an episode; the observation, flat."""
        observation, _ = self._env.reset(seed=self._seed)
        self._seed, self._return = None, 0.0
        return np.asarray(observation).ravel()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, bool]:
        """One step with an action in [-1, 1]."""
        scaled = np.clip(self._center + self._half_range * action, self.low, self.high)
        if np.issubdtype(self._dtype, np.integer):
            scaled = np.rint(scaled)
        observation, reward, terminated, truncated, info = self._env.step(
            scaled.astype(self._dtype)
        )
        reward = float(np.asarray(reward).item())  # some are arrays of one number
        self._return += reward
        done = bool(terminated or truncated)
        success = self._success(info, done)
        return np.asarray(observation).ravel(), reward, terminated, truncated, success

    def _success(self, info: dict[str, Any], done: bool) -> bool:
        reported = [info[key] for key in _SUCCESS if key in info]
        if reported:
            self._told = True
            return flag("success", reported[0])
        if done and not self._told:
            self._told = True
            warnings.warn(
                f"{self._env} reports no success: an episode ended without info['success'] or "
                f"info['is_success'], so none counts as one; give the task a success_return, or a "
                f"return_range to be scored by",
                stacklevel=2,
            )
        return done and self._success_return is not None and self._return >= self._success_return

    def rng_state(self) -> dict[str, Any]:
        """The seed still to be used, or the states of the generators of the environment, its
        wrappers and its spaces; and those of the global ones, from which it may draw, too.
        """
        if self._seed is not None:
            return {"seed": self._seed, "global": global_states()}
        own = generator_states(self._holders())
        return {"seeded": self._first_seed, "own": own, "global": global_states()}

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Takes back what `rng_state` gave."""
        self._seed = state.get("seed")
        if self._seed is None:
            self._first_seed = state["seeded"]
            self._env.reset(seed=self._first_seed)  # which may prepare what later resets need
            set_generator_states(self._holders(), state["own"])
        set_global_states(state["global"])

    def _holders(self) -> dict[str, Any]:
        """What may hold generators, by name: each wrapper, the environment, its spaces."""
        layers = [self._env]
        while isinstance(layers[-1], gymnasium.Wrapper):
            layers.append(layers[-1].env)
        plain = layers[-1]  # whose spaces may be its class's
        spaces = {
            name: getattr(plain, name, None) for name in ("action_space", "observation_space")
        }
        return {**{f"{type(x).__name__}#{i}": x for i, x in enumerate(layers)}, **spaces}

    def begin_drawing(self, size: int) -> None:
        """Makes the environment anew, so that it draws itself; its random state stays.

        Raises:
            RunError: it does not draw, or not here.
        """
        modes = self._env.metadata.get("render_modes", [])
        if "rgb_array" not in modes:
            raise RunError(
                f"{self._env.unwrapped} cannot be drawn: expected the render mode 'rgb_array', got "
                f"{list(modes)}; give it metadata = {{'render_modes': ['rgb_array']}}, an argument "
                f"render_mode of its constructor, and a method render that returns a picture"
            )
        choose_gl()  # for environments on MuJoCo: Gymnasium's choice fails without a display
        state = self.rng_state()
        self._env.close()
        self._build = partial(self._build, render_mode="rgb_array")  # whenever it is made anew
        self._env = self._build()
        self.set_rng_state(state)

    def frame(self) -> np.ndarray:
        """What the environment draws, [height, width, 3] uint8; RunError if that is no picture."""
        try:
            picture = self._env.render()
        except Exception as error:  # each toolkit raises its own
            raise RunError(f"{self._env.unwrapped} cannot be drawn: {error}") from error
        return checked_picture(str(self._env.unwrapped), picture, "render")

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


class GymnasiumEnv(SimulatorEnv):
    """Any Gymnasium environment with Box spaces; actions are rescaled to [-1, 1].

    Args:
        env: Gymnasium's id, as `"Pendulum-v1"`, or `"module:id"`, which imports the module.
        horizon: steps until an episode is truncated; None keeps the environment's own limit.
        success_return: return from which an episode counts as solved at its end, for environments
            that do not report success themselves; None: never.
        num_envs: batch size `[num_envs]`, or `[]` for None.
        seed: first seed.
        action_repeat: steps that an action is held for, see `SimulatorEnv`.
        packages: modules to be imported first, which register environments.
        scored_by_return: whether its episodes are judged by their returns, and not by success.

    Raises:
        RecipeError: the environment cannot be used; the message names the remedy.
    """

    def __init__(
        self,
        env: str,
        horizon: int | None = None,
        success_return: float | None = None,
        num_envs: int | None = None,
        seed: int = 0,
        action_repeat: int = 1,
        packages: Sequence[str] = (),
        scored_by_return: bool = False,
    ):
        super().__init__(
            [
                GymnasiumSimulator(
                    partial(make, env, horizon, packages), success_return, scored_by_return
                )
                for _ in range(1 if num_envs is None else num_envs)
            ],
            batched=num_envs is not None,
            seed=seed,
            action_repeat=action_repeat,
        )
