"""Gymnasium environments with Box spaces as TorchRL environments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.wrappers.utils import RunningMeanStd

from cotasp.errors import RecipeError, RunError
from cotasp.tasks.closing import close
from cotasp.tasks.drawing import choose_gl
from cotasp.tasks.generators import (
    generator_states,
    global_states,
    set_generator_states,
    set_global_states,
)
from cotasp.tasks.simulator import SimulatorEnv

_SUCCESS = ("success", "is_success")  # keys of `info`, the first that is there counts


def make(
    env: str, horizon: int | None = None, packages: Sequence[str] = (), **settings: Any
) -> gymnasium.Env:
    """The Gymnasium environment, its spaces checked and its episodes limited in time.

    Args:
        env: Gymnasium's id, or `module:id`, which imports the module.
        horizon: steps until an episode is truncated; None: the environment's own limit.
        packages: modules to be imported first, which register environments.
        settings: of its constructor.

    Raises:
        RecipeError: a package that registers it cannot be imported, it is unknown or cannot be
            built, it has no time limit, its observations are no flat Box, or its actions no
            bounded, flat Box.
    """
    module, _, name = env.rpartition(":")
    for package in (*packages, *([module] if module else [])):
        _import(package)
    try:
        made = gymnasium.make(name, max_episode_steps=horizon, disable_env_checker=True, **settings)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        hint = (
            "" if packages or module else "; name the package that registers it in stream.packages"
        )
        raise RecipeError(f"Gymnasium environment {env!r}: {error}{hint}") from error
    except Exception as error:  # an environment raises whatever it likes
        raise RecipeError(f"Gymnasium environment {env!r}: cannot be built: {error!r}") from error
    problem = _problem(made)
    if problem:
        close(made)
        raise RecipeError(f"Gymnasium environment {env!r}: {problem}")
    return made


def _import(package: str) -> None:
    """Imports what registers environments."""
    if not all(part.isidentifier() for part in package.split(".")):
        raise RecipeError(f"packages: expected the name of a module, got {package!r}")
    try:
        import_module(package)
    except (Exception, SystemExit) as error:
        raise RecipeError(
            f"package {package!r} cannot be imported: {type(error).__name__}: {error}; install it "
            f"(pip install -e .), or put the folder that holds it on PYTHONPATH"
        ) from error


def _problem(made: gymnasium.Env) -> str | None:
    """Why the environment cannot be used, and what would be needed; None: it can."""
    observation, action = made.observation_space, made.action_space
    if isinstance(action, (Discrete, MultiDiscrete, MultiBinary)):
        return (
            f"expected a flat Box of actions, got {action}; only continuous actions are supported, "
            f"for the policy is a squashed Gaussian; register a version of it whose action is a "
            f"Box and which rounds it"
        )
    if not isinstance(action, Box) or len(action.shape) != 1:
        return (
            f"expected a flat Box of actions, got {action}; only continuous actions are supported"
        )
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        return (
            f"expected actions with finite bounds, got {action}; "
            "register a version of it that is wrapped in RescaleAction or ClipAction"
        )
    if isinstance(observation, (Dict, Tuple)) or not isinstance(observation, Box):
        return (
            f"expected a Box of observations, got {observation}; "
            "register a version of it that is wrapped in FlattenObservation"
        )
    if len(observation.shape) > 2 or (
        len(observation.shape) == 2 and observation.dtype == np.uint8
    ):
        return (
            f"expected a Box of numbers in a row, got images {observation}: the policy is a "
            f"multi-layer perceptron and has no convolutions; register a version of it whose "
            f"wrapper turns an image into a vector of features"
        )
    if made.spec is None or made.spec.max_episode_steps is None:
        return "it has no time limit of its own; give the stream a horizon"
    return None


@lru_cache(maxsize=256)
def facts(
    env: str, horizon: int | None = None, packages: tuple[str, ...] = ()
) -> tuple[int, int, int]:
    """`(n_obs, n_act, horizon)` of an environment.

    Warns where a wrapper keeps statistics, which every copy of the environment has of its own.

    Raises:
        RecipeError: what `make` raises, or no second one can be made beside the first.
    """
    made = make(env, horizon, packages)
    observation, action = _boxes(made)
    limit = made.spec.max_episode_steps if made.spec else None
    try:
        close(make(env, horizon, packages))
    except RecipeError as error:
        raise RecipeError(
            f"Gymnasium environment {env!r}: only one can be there at a time ({error}); a run "
            f"trains in one and evaluates in others beside it: let it be made several times"
        ) from error
    finally:
        keeping = [type(wrapper).__name__ for wrapper in _with_statistics(made)]
        close(made)
    if keeping:
        warnings.warn(
            f"Gymnasium environment {env!r}: {' and '.join(keeping)} keeps running statistics: "
            f"training, evaluations and resumed runs each begin with none, so a finished policy is "
            f"not judged on what it was trained with; scale by constants instead",
            stacklevel=2,
        )
    assert limit is not None  # make() saw to it
    return int(np.prod(observation.shape)), action.shape[0], limit


def _boxes(made: gymnasium.Env) -> tuple[Box, Box]:
    """Observation and action space of what `make` made."""
    assert isinstance(made.observation_space, Box)
    assert isinstance(made.action_space, Box)
    return made.observation_space, made.action_space


def _with_statistics(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    """The environment's wrappers that remember a mean and variance from episode to episode."""
    while isinstance(env, gymnasium.Wrapper):
        if any(isinstance(value, RunningMeanStd) for value in vars(env).values()):
            yield env
        env = env.env


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
        self._with_statistics = any(_with_statistics(self._env))
        observation, space = _boxes(self._env)
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
        self._return += float(reward)
        done = bool(terminated or truncated)
        success = self._success(info, done)
        return np.asarray(observation).ravel(), float(reward), terminated, truncated, success

    def _success(self, info: dict[str, Any], done: bool) -> bool:
        reported = [info[key] for key in _SUCCESS if key in info]
        if reported:
            self._told = True
            return bool(reported[0])
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
        """The seed still to be used, or the states of the environment's generators; and those of
        Python's and NumPy's global ones, from which it may draw, too.
        """
        if self._seed is not None:
            return {"seed": self._seed, "global": global_states()}
        own = generator_states(vars(self._env.unwrapped))
        return {"seeded": self._first_seed, "own": own, "global": global_states()}

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Takes back what `rng_state` gave."""
        self._seed = state.get("seed")
        if self._seed is None:
            self._first_seed = state["seeded"]
            self._env.reset(seed=self._first_seed)  # which may prepare what later resets need
            set_generator_states(vars(self._env.unwrapped), state["own"])
        set_global_states(state["global"])

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
