"""Small environments that people register, each with one property that broke something.

Importing this registers them; every one has 3 observations, 2 actions in [-1, 1] and episodes of 10
steps.
"""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box


class Own(gym.Env):
    """The well-behaved one: everything random comes from `self.np_random`."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.start(), 0
        return self.x.copy(), {}

    def start(self):
        return self.np_random.uniform(-1, 1, 3)

    def step(self, action):
        self.t += 1
        self.x[:2] = 0.9 * self.x[:2] + 0.1 * np.asarray(action)
        return (
            self.x.copy(),
            -float(np.abs(self.x).sum()),
            False,
            False,
            {"success": bool(abs(self.x[0]) < 0.1)},
        )


class GlobalNumpy(Own):
    """Draws its start from NumPy's global generator."""

    def start(self):
        return np.random.uniform(-1, 1, 3)  # noqa: NPY002


class LegacyState(Own):
    """Keeps a RandomState as `np_random`, as environments written for gym did."""

    def reset(self, *, seed=None, options=None):
        if seed is not None or not hasattr(self, "_state"):
            self._state = np.random.RandomState(seed)
        self.np_random = self._state
        self.x, self.t = self._state.uniform(-1, 1, 3), 0
        return self.x.copy(), {}


class SeededOnce(Own):
    """Prepares something in its first seeded reset and needs it in every later one."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.x, self.t = self.rng.uniform(-1, 1, 3), 0
        return self.x.copy(), {}


class Unstable(Own):
    """Now and then its physics raise."""

    def step(self, action):
        out = super().step(action)
        if self.x[2] > 0.8 and self.np_random.random() < 0.2:
            raise RuntimeError("the simulation is unstable")
        return out


class LateClose(Own):
    """Its server is gone when it is closed after it has been stepped."""

    stepped = False

    def step(self, action):
        self.stepped = True
        return super().step(action)

    def close(self):
        if self.stepped:
            raise RuntimeError("not connected to the physics server")


class IntegerActions(Own):
    action_space = Box(0, 10, (2,), np.int64)

    def step(self, action):
        self.seen = np.array(action)
        return super().step(np.zeros(2))


class Shifted(Own):
    """Actions in [0, 10] x [-5, 1]."""

    action_space = Box(np.array([0.0, -5.0], np.float32), np.array([10.0, 1.0], np.float32))


class IsSuccess(Own):
    """Reports success under the key that goal environments use."""

    def step(self, action):
        o, r, terminated, truncated, _ = super().step(action)
        return o, r, terminated, truncated, {"is_success": True}


def normalised():
    return gym.wrappers.NormalizeObservation(Own())


class Single(Own):
    """Only one at a time, as an environment that owns a port or a robot."""

    alive = 0

    def __init__(self):
        if Single.alive:
            raise OSError("worker 0 is still in use")
        Single.alive += 1

    def close(self):
        Single.alive -= 1


for cls in (
    Own,
    GlobalNumpy,
    LegacyState,
    SeededOnce,
    Unstable,
    LateClose,
    IntegerActions,
    Shifted,
    IsSuccess,
    Single,
):
    gym.register(f"case/{cls.__name__}-v0", cls, max_episode_steps=10)
gym.register("case/Normalised-v0", normalised, max_episode_steps=10)
