"""The loop over tasks, evaluation and metrics."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Evaluator": "evaluation",
        "load_run": "saved",
        "open_run": "opened",
        "resume": "loop",
        "run": "loop",
    },
)
