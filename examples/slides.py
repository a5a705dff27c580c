"""A mass on a rail, as a Gymnasium environment: what your own package would hold."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Slide(gymnasium.Env):
    """A mass that is to come to rest at a place, which it does not observe.

    Args:
        place: where, in [-1, 1].
    """

    def __init__(self, place: float) -> None:
        self.place = place
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float32)  # position, velocity
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)  # force

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-0.2, 0.2), 0.0])
        return self.state.astype(np.float32), {}

    def step(self, action):
        self.state[1] = 0.8 * self.state[1] + 0.2 * float(action[0])
        self.state[0] += 0.2 * self.state[1]
        distance = abs(self.state[0] - self.place)
        success = bool(distance < 0.1)  # of this step; the last step of an episode counts
        return self.state.astype(np.float32), -distance, False, False, {"success": success}


gymnasium.register("Right-v0", Slide, max_episode_steps=40, kwargs={"place": 0.8})
gymnasium.register("Left-v0", Slide, max_episode_steps=40, kwargs={"place": -0.8})
