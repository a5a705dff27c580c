"""What a run keeps on disk: its directory, checkpoints, and tables that grow."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Checkpoint": "checkpoint",
        "Checkpoints": "checkpoints",
        "Rows": "rows",
        "RunDirectory": "rundir",
    },
)
