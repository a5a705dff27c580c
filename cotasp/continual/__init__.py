"""The loop over tasks, evaluation, metrics and the run directory."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Evaluator": "evaluation",
        "RunDirectory": "rundir",
        "evaluate_run": "saved",
        "load_run": "saved",
        "resume": "loop",
        "run": "loop",
    },
)
