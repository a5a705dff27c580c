"""Tasks, streams of tasks, and their environments."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "CW10": "streams",
        "CW20": "streams",
        "GymEntry": "entries",
        "Gymnasium": "streams",
        "GymnasiumEnv": "gym",
        "MetaWorld": "streams",
        "MetaWorldEnv": "metaworld",
        "Point": "streams",
        "PointEnv": "point",
        "Simulator": "simulator",
        "SimulatorEnv": "simulator",
        "Stream": "streams",
        "TEXTS": "texts",
        "Task": "task",
        "TaskEntry": "entries",
    },
)
