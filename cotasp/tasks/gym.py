"""Gymnasium environments with Box spaces as TorchRL environments."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from cotasp.errors import RecipeError, RunError
from cotasp.tasks.drawing import choose_gl
from cotasp.tasks.simulator import SimulatorEnv


def make(env: str, horizon: int | None = None, **settings: Any) -> gymnasium.Env:
    """The Gymnasium environment, its spaces checked and its episodes limited in time.

    Args:
        env: Gymnasium's id.
        horizon: steps until an episode is truncated; None: the environment's own limit.
        settings: of its constructor.

    Raises:
        RecipeError: it is unknown or cannot be built, it has no time limit, its observations are
            no Box, or its actions no bounded, flat Box.
    """
    try:
        made = gymnasium.make(env, max_episode_steps=horizon, disable_env_checker=True, **settings)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise RecipeError(f"Gymnasium environment {env!r}: {error}") from error
    observation, action = made.observation_space, made.action_space
    problem = None
    if made.spec is None or made.spec.max_episode_steps is None:
        problem = "it has no time limit of its own; give the stream a horizon"
    if not isinstance(observation, Box):
        problem = (
            f"expected a Box of observations, got {observation}; "
            "register a version of it that is wrapped in FlattenObservation"
        )
    if not isinstance(action, Box) or len(action.shape) != 1:
        problem = (
            f"expected a flat Box of actions, got {action}; only continuous actions are supported"
        )
    elif not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        problem = (
            f"expected actions with finite bounds, got {action}; "
            "register a version of it that is wrapped in RescaleAction or ClipAction"
        )
    if problem:
        made.close()
        raise RecipeError(f"Gymnasium environment {env!r}: {problem}")
    return made


@lru_cache(maxsize=256)
def facts(env: str, horizon: int | None = None) -> tuple[int, int, int]:
    """`(n_obs, n_act, horizon)` of an environment; raises what `make` raises."""
    made = make(env, horizon)
    observation, action = _boxes(made)
    limit = made.spec.max_episode_steps if made.spec else None
    made.close()
    assert limit is not None  # make() saw to it
    return int(np.prod(observation.shape)), action.shape[0], limit


def _boxes(made: gymnasium.Env) -> tuple[Box, Box]:
    """Observation and action space of what `make` made."""
    assert isinstance(made.observation_space, Box)
    assert isinstance(made.action_space, Box)
    return made.observation_space, made.action_space


class GymnasiumSimulator:
    """One Gymnasium environment: flat float32 observations, actions mapped from [-1, 1].

    Success is `info["success"]` where the environment reports it; otherwise it holds from the step
    at which the episode's return reaches `success_return` (never, if that is None).

    Args:
        build: makes the environment by `make`, perhaps wrapped; takes further settings of `make`.
        success_return: see above.
    """

    def __init__(self, build: Callable[..., gymnasium.Env], success_return: float | None = None):
        self._build = build
        self._env = build()
        observation, space = _boxes(self._env)
        self.n_obs = int(np.prod(observation.shape))
        self.n_act = space.shape[0]
        self._low, self._high, self._dtype = space.low, space.high, space.dtype
        self._center = (space.high.astype(np.float64) + space.low) / 2
        self._half_range = (space.high.astype(np.float64) - space.low) / 2
        self._success_return = np.inf if success_return is None else success_return
        self._return = 0.0
        self._seed: int | None = None  # of the next reset

    def seed(self, seed: int) -> None:
        """Seeds the next reset and all that follows."""
        self._seed = seed

    def reset(self) -> np.ndarray:
        """Starts an episode; the observation, flat."""
        observation, _ = self._env.reset(seed=self._seed)
        self._seed, self._return = None, 0.0
        return np.asarray(observation).ravel()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, bool]:
        """One step with an action in [-1, 1]."""
        scaled = np.clip(self._center + self._half_range * action, self._low, self._high)
        observation, reward, terminated, truncated, info = self._env.step(
            scaled.astype(self._dtype)
        )
        self._return += float(reward)
        success = bool(info.get("success", self._return >= self._success_return))
        return np.asarray(observation).ravel(), float(reward), terminated, truncated, success

    def rng_state(self) -> dict[str, Any]:
        """The seed still to be used, or the state of the environment's bit generator."""
        if self._seed is not None:
            return {"seed": self._seed}
        return dict(self._env.unwrapped.np_random.bit_generator.state)

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Takes back what `rng_state` gave."""
        self._seed = state.get("seed")
        if self._seed is None:
            self._env.unwrapped.np_random.bit_generator.state = state

    def begin_drawing(self, size: int) -> None:
        """Makes the environment anew, so that it draws itself; its random state stays.

        Raises:
            RunError: it does not draw, or not here.
        """
        modes = self._env.metadata.get("render_modes", [])
        if "rgb_array" not in modes:
            raise RunError(
                f"{self._env.unwrapped} cannot be drawn: expected the render mode 'rgb_array', got "
                f"{list(modes)}"
            )
        choose_gl()  # for environments on MuJoCo: Gymnasium's choice fails without a display
        state = self.rng_state()
        self._env.close()
        self._env = self._build(render_mode="rgb_array")
        self.set_rng_state(state)

    def frame(self) -> np.ndarray:
        """What the environment draws, [height, width, 3] uint8; RunError if it cannot."""
        try:
            picture = self._env.render()
        except Exception as error:  # each toolkit raises its own
            raise RunError(f"{self._env.unwrapped} cannot be drawn: {error}") from error
        return np.asarray(picture, np.uint8)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


class GymnasiumEnv(SimulatorEnv):
    """Any Gymnasium environment with Box spaces; actions are rescaled to [-1, 1].

    Args:
        env: Gymnasium's id, as `"Pendulum-v1"`.
        horizon: steps until an episode is truncated; None keeps the environment's own limit.
        success_return: return at which an episode counts as solved, for environments that do not
            report `info["success"]`; None: never.
        num_envs: batch size `[num_envs]`, or `[]` for None.
        seed: first seed.
        action_repeat: steps that an action is held for, see `SimulatorEnv`.

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
    ):
        super().__init__(
            [
                GymnasiumSimulator(partial(make, env, horizon), success_return)
                for _ in range(1 if num_envs is None else num_envs)
            ],
            batched=num_envs is not None,
            seed=seed,
            action_repeat=action_repeat,
        )
