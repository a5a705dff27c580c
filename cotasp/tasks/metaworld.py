"""Meta-World v3 as a TorchRL environment."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, ClassVar, Literal

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from cotasp.tasks.drawing import mujoco_viewer
from cotasp.tasks.simulator import SimulatorEnv

_LOOK_AT = (0.0, 0.6, 0.1)  # above the middle of the table, m
_DISTANCE, _AZIMUTH, _ELEVATION = 1.5, 130.0, -30.0  # of the camera: m, degrees


class _CopiesModel:
    """Gives each environment a copy of its task's model, of which only the first is compiled.

    Compiling takes a tenth of a second and more, copying a tenth of that, and evaluations build
    ten environments of a task.  The last task's model stays in memory, about 25 MB.
    """

    compiled: ClassVar[dict[tuple[Any, ...], mujoco.MjModel]] = {}

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """As of `gymnasium.envs.mujoco.MujocoEnv`, whose constructor calls it."""
        env: Any = self
        key = env.fullpath, env.width, env.height
        if key in self.compiled:
            model = copy.copy(self.compiled[key])
            return model, mujoco.MjData(model)
        model, data = super()._initialize_simulation()  # type: ignore[misc]  # of the task's class
        self.compiled.clear()
        self.compiled[key] = copy.copy(model)  # tasks move the bodies of their own
        return model, data


@cache
def _task_class(env: str) -> Any:
    """Meta-World's class of a task, with copied models."""
    original = ALL_V3_ENVIRONMENTS[env]
    return type(original.__name__, (_CopiesModel, original), {})


class MetaWorldSimulator:
    """One Meta-World v3 task with its goal visible, and drawn afresh at every reset.

    Built from the raw class: what `gym.make` returns ignores seeds and freezes its goals, and
    what the raw class returns hides the goal from step 1 on until its bounds are recomputed.

    `"v1"` rewards come with the success rule of `"v2"` ones: the code of v1 rewards reports
    other distances, from which success comes out wrong for a third of the tasks.
    """

    n_obs, n_act = 39, 4

    def __init__(self, env: str, horizon: int, reward_version: Literal["v1", "v2"]):
        sim: Any = _task_class(env)(reward_function_version=reward_version)
        sim._freeze_rand_vec = False
        sim.seeded_rand_vec = True
        sim._set_task_called = True
        sim._partially_observable = False
        del sim.sawyer_observation_space  # cached with zero bounds, to which step() clips the goal
        sim.observation_space = sim.sawyer_observation_space
        sim.max_path_length = horizon
        self.sim, self._horizon, self._v1 = sim, horizon, reward_version == "v1"
        self._viewer: Any = None

    def seed(self, seed: int) -> None:
        """Seeds the draws of goals and objects, the only randomness there is."""
        self.sim.seed(seed)

    def reset(self) -> np.ndarray:
        """A new goal and object position; the observation [39]."""
        return self.sim.reset()[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, bool]:
        """One step of 5 physics steps; never terminated, truncated at the horizon."""
        sim = self.sim
        observation, reward, _, _, info = sim.step(action)
        if self._v1:
            sim.reward_function_version = "v2"
            info = sim.evaluate_state(observation, action)[1]
            sim.reward_function_version = "v1"
        truncated = sim.curr_path_length >= self._horizon
        return observation, reward, False, truncated, bool(info["success"])

    def rng_state(self) -> dict[str, Any]:
        """State of the bit generator, from which the next reset follows."""
        return self.sim.np_random.bit_generator.state

    def set_rng_state(self, state: dict[str, Any]) -> None:
        """Takes back what `rng_state` gave."""
        self.sim.np_random.bit_generator.state = state

    def begin_drawing(self, size: int) -> None:
        """Opens an off-screen view of the table, size x size; raises RunError if it cannot."""
        self._viewer = mujoco_viewer(self.sim.model, self.sim.data, size, size)
        camera = self._viewer.cam
        camera.lookat[:] = _LOOK_AT
        camera.distance, camera.azimuth, camera.elevation = _DISTANCE, _AZIMUTH, _ELEVATION

    def frame(self) -> np.ndarray:
        """What the camera sees, [size, size, 3] uint8."""
        return self._viewer.render("rgb_array")

    def close(self) -> None:
        """Closes the view and renderers."""
        if self._viewer is not None:
            self._viewer.free()
        self.sim.close()


class MetaWorldEnv(SimulatorEnv):
    """A Meta-World v3 task: observation [39], action [4], fresh goals, v1 or v2 rewards.

    Meta-World (Yu et al. 2019, arXiv 1910.10897), version 3: rewards v2 are 0 to 10 per step.

    Args:
        env: name of the task, as `"hammer-v3"`.
        horizon: steps until an episode is truncated, at least 1.
        reward_version: `reward_function_version` of Meta-World.
        num_envs: batch size `[num_envs]`, or `[]` for None.
        seed: first seed.
        action_repeat: steps that an action is held for, see `SimulatorEnv`.
    """

    def __init__(
        self,
        env: str,
        horizon: int = 200,
        reward_version: Literal["v1", "v2"] = "v2",
        num_envs: int | None = None,
        seed: int = 0,
        action_repeat: int = 1,
    ):
        super().__init__(
            [
                MetaWorldSimulator(env, horizon, reward_version)
                for _ in range(1 if num_envs is None else num_envs)
            ],
            batched=num_envs is not None,
            seed=seed,
            action_repeat=action_repeat,
        )
