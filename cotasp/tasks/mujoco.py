"""MuJoCo robots of Gymnasium with the rewards of meta-reinforcement learning's task families.

The families are those of MAML (arXiv 1703.03400), PEARL (arXiv 1903.08254), GMPS (arXiv 1904.00956)
and MACAW (arXiv 2008.06043); the formulas are written down as their public code has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from cotasp.tasks.gym import GymnasiumSimulator
from cotasp.tasks.gym_making import make
from cotasp.tasks.simulator import SimulatorEnv

Reward = Callable[[gymnasium.Env, np.ndarray, dict[str, Any]], float]  # robot, action, its info


class Rewarded(gymnasium.Wrapper):
    """A robot with another reward.

    Args:
        env: whose observations, limits and terminations stay.
        reward: of the robot after the step, the action and Gymnasium's facts about the step.
    """

    def __init__(self, env: gymnasium.Env, reward: Reward):
        super().__init__(env)
        self._reward = reward

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step."""
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = self._reward(self.env.unwrapped, action, info)
        return observation, reward, terminated, truncated, info


def cheetah_velocity(
    velocity: float, robot: gymnasium.Env, action: np.ndarray, info: dict[str, Any]
) -> float:
    """-|v_x - v*| - 0.05 |a|^2."""
    return -abs(info["x_velocity"] - velocity) - 0.05 * float(np.square(action).sum())


def cheetah_direction(
    sign: float, robot: gymnasium.Env, action: np.ndarray, info: dict[str, Any]
) -> float:
    """v_x or -v_x, - 0.05 |a|^2."""
    return sign * info["x_velocity"] - 0.05 * float(np.square(action).sum())


def ant_goal(
    goal: tuple[float, float], robot: gymnasium.Env, action: np.ndarray, info: dict[str, Any]
) -> float:
    """4 - |x - g_x| - |y - g_y| - 0.005 |a|^2 - 0.0005 |clip(contact forces, -1, 1)|^2 + 0.05."""
    away = abs(info["x_position"] - goal[0]) + abs(info["y_position"] - goal[1])
    return 4.0 - away - 0.005 * float(np.square(action).sum()) - _contact(robot) + 0.05


def ant_direction(
    angle: float, robot: gymnasium.Env, action: np.ndarray, info: dict[str, Any]
) -> float:
    """v . (cos t, sin t) - 0.5 |a|^2 - 0.0005 |clip(contact forces, -1, 1)|^2 + 1."""
    along = info["x_velocity"] * math.cos(angle) + info["y_velocity"] * math.sin(angle)
    return along - 0.5 * float(np.square(action).sum()) - _contact(robot) + 1.0


def _contact(robot: Any) -> float:
    return 5e-4 * float(np.square(np.clip(robot.data.cfrc_ext, -1.0, 1.0)).sum())


REWARDS: dict[str, Callable[..., float]] = {
    "cheetah_velocity": cheetah_velocity,
    "cheetah_direction": cheetah_direction,
    "ant_goal": ant_goal,
    "ant_direction": ant_direction,
}
_ANT = {"include_cfrc_ext_in_observation": False}


def _robot(
    family: str, parameter: Any, horizon: int, gear: float | None, **settings: Any
) -> gymnasium.Env:
    reward = partial(REWARDS[family], parameter)
    if family.startswith("cheetah"):
        return Rewarded(make("HalfCheetah-v5", horizon, **settings), reward)
    where = {"exclude_current_positions_from_observation": family != "ant_goal"}
    ant = make("Ant-v5", horizon, (), **_ANT, **where, **settings)
    if gear is not None:
        ant.unwrapped.model.actuator_gear[:, 0] = gear  # type: ignore[attr-defined]
    return Rewarded(ant, reward)


class FamilyEnv(SimulatorEnv):
    """A robot in one task of a family.

    Observations are Gymnasium's: HalfCheetah-v5's 17 numbers; Ant-v5's without contact forces, 27,
    and with x and y 29 where a goal is to be reached.  HalfCheetah never terminates; Ant does where
    Gymnasium calls it unhealthy.  No family tells success.

    Args:
        family: a key of `REWARDS`.
        parameter: what the reward's formula is given: velocity in m/s, sign, goal in m or angle in
            radians.
        horizon: steps until an episode is truncated.
        gear: of Ant's motors; None: Gymnasium's, 150.
        num_envs: batch size `[num_envs]`, or `[]` for None.
        seed: first seed.
        action_repeat: steps that an action is held for, see `SimulatorEnv`.
    """

    def __init__(
        self,
        family: str,
        parameter: Any,
        horizon: int,
        gear: float | None = None,
        num_envs: int | None = None,
        seed: int = 0,
        action_repeat: int = 1,
    ):
        super().__init__(
            [
                GymnasiumSimulator(
                    partial(_robot, family, parameter, horizon, gear), scored_by_return=True
                )
                for _ in range(1 if num_envs is None else num_envs)
            ],
            batched=num_envs is not None,
            seed=seed,
            action_repeat=action_repeat,
        )
