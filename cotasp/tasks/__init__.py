"""Tasks, streams of tasks, and their environments."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "AntDirection": "mujoco_streams",
        "AntGoal": "mujoco_streams",
        "CW10": "streams",
        "CW20": "streams",
        "CheetahDirection": "mujoco_streams",
        "CheetahVelocity": "mujoco_streams",
        "GymEntry": "entries",
        "Gymnasium": "gym_streams",
        "GymnasiumEnv": "gym",
        "MetaWorld": "streams",
        "MetaWorldEnv": "metaworld",
        "Point": "point_streams",
        "PointEnv": "point",
        "PointGoals": "point_streams",
        "Simulator": "answers",
        "SimulatorEnv": "simulator",
        "Stream": "streams",
        "TEXTS": "texts",
        "Task": "task",
        "TaskEntry": "entries",
    },
)
