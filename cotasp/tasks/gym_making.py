"""Gymnasium environments made and looked at: what a run cannot use is refused here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.wrappers import ClipAction
from gymnasium.wrappers.utils import RunningMeanStd

from cotasp.errors import RecipeError
from cotasp.tasks.closing import close

LARGEST_ACTION = 1e9  # a bound beyond says as little as an infinite one


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
        environment = gymnasium.make(
            name, max_episode_steps=horizon, disable_env_checker=True, **settings
        )
    except (gymnasium.error.NameNotFound, gymnasium.error.NamespaceNotFound) as error:
        hint = "name the package that registers it in stream.packages"
        if packages or module:
            hint = f"{' and '.join([*packages, *filter(None, [module])])} must register it"
        reason = str(error).rstrip(".")
        raise RecipeError(f"Gymnasium environment {env!r}: {reason}; {hint}") from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:  # which name the remedy
        raise RecipeError(f"Gymnasium environment {env!r}: {error}") from error
    except Exception as error:  # an environment raises whatever it likes
        raise RecipeError(f"Gymnasium environment {env!r}: cannot be built: {error!r}") from error
    problem = _problem(environment)
    if problem:
        close(environment)
        raise RecipeError(f"Gymnasium environment {env!r}: {problem}")
    return environment


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


def _problem(environment: gymnasium.Env) -> str | None:
    """Why the environment cannot be used, and what would be needed; None: it can."""
    observation, action = environment.observation_space, _actions(environment)
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
    if not (np.abs([action.low, action.high]) <= LARGEST_ACTION).all():
        return (
            f"expected actions with bounds of at most {LARGEST_ACTION:g}, got {action}; register a "
            f"version of it that says which actions are of use, as gymnasium.wrappers."
            f"TransformAction(env, lambda action: action, Box(-1.0, 1.0, {action.shape}))"
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
    if environment.spec is None or environment.spec.max_episode_steps is None:
        return "it has no time limit of its own; give the stream a horizon"
    return None


@lru_cache(maxsize=256)
def facts(
    env: str, horizon: int | None = None, packages: tuple[str, ...] = ()
) -> tuple[int, int, int]:
    """`(n_obs, n_act, horizon)` of an environment.

    Warns where a wrapper keeps statistics, which every copy of the environment has of its own.

    Raises:
        RecipeError: what `make` raises, no second one can be made beside the first, or what its
            methods return has another form than Gymnasium's.
    """
    environment = make(env, horizon, packages)
    observation, action = boxes(environment)
    limit = environment.spec.max_episode_steps if environment.spec else None
    try:
        close(make(env, horizon, packages))
        problem = _misfit(environment)
    except RecipeError as error:
        raise RecipeError(
            f"Gymnasium environment {env!r}: only one can be there at a time ({error}); a run "
            f"trains in one and evaluates in others beside it: let it be made several times"
        ) from error
    finally:
        keeping = [type(wrapper).__name__ for wrapper in with_statistics(environment)]
        close(environment)
    if problem:
        raise RecipeError(f"Gymnasium environment {env!r}: {problem}")
    if keeping:
        warnings.warn(
            f"Gymnasium environment {env!r}: {' and '.join(keeping)} keeps running statistics: "
            f"training, evaluations and resumed runs each begin with none, so a finished policy is "
            f"not judged on what it was trained with; scale by constants instead",
            stacklevel=2,
        )
    assert limit is not None  # make() saw to it
    return int(np.prod(observation.shape)), action.shape[0], limit


def _misfit(environment: gymnasium.Env) -> str | None:
    """What a first reset or step returns in another form than it should; None: nothing.

    What they raise is left to the run, which may be told to skip it.
    """
    plain = environment.unwrapped  # wrappers would stumble over a wrong form themselves
    try:
        answer = plain.reset(seed=0)
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            return f"expected its reset to return (observation, info), got {_brief(answer)}"
        answer = plain.step(_sample(plain.action_space))  # type: ignore[assignment]  # of another form
        if not (isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict)):
            return (
                f"expected its step to return (observation, reward, terminated, truncated, info), "
                f"got {_brief(answer)}"
            )
        observation, _ = environment.reset(seed=0)
        space, shape = environment.observation_space, np.shape(observation)
        if shape != space.shape:
            return f"expected observations of shape {space.shape}, as its space says, got {shape}"
        observation, reward, *_ = environment.step(_sample(environment.action_space))
    except Exception:  # an environment raises whatever it likes
        return None
    shape = np.shape(observation)
    if shape != space.shape:
        return f"expected observations of shape {space.shape}, as its space says, got {shape}"
    if np.shape(reward) not in ((), (1,)) or not np.issubdtype(np.asarray(reward).dtype, np.number):
        return f"expected a number as reward, got {_brief(reward)}"
    return None


def _sample(space: gymnasium.Space) -> Any:
    """An action; the space itself, which environments may share and draw from, draws nothing."""
    own = deepcopy(space)
    own.seed(0)
    return own.sample()


def _brief(answer: Any) -> str:
    count = f" of {len(answer)}" if isinstance(answer, tuple) else f" {str(answer)[:40]}"
    return f"{type(answer).__name__}{count}"


def boxes(environment: gymnasium.Env) -> tuple[Box, Box]:
    """Observation and action space of what `make` made."""
    observation, action = environment.observation_space, _actions(environment)
    assert isinstance(observation, Box)
    assert isinstance(action, Box)
    return observation, action


def _actions(environment: gymnasium.Env) -> gymnasium.Space:
    """The actions; under a ClipAction, which takes any, those that it lets through."""
    actions = environment.action_space
    while isinstance(environment, gymnasium.Wrapper):
        if isinstance(environment, ClipAction) and environment.action_space is actions:
            actions = environment.env.action_space
        environment = environment.env
    return actions


def with_statistics(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    """The environment's wrappers that remember a mean and variance from episode to episode."""
    while isinstance(env, gymnasium.Wrapper):
        if any(isinstance(value, RunningMeanStd) for value in vars(env).values()):
            yield env
        env = env.env
