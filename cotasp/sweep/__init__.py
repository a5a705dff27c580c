"""One recipe, many variants and seeds: trials that run side by side."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Job": "trial",
        "Launcher": "launchers",
        "Local": "launchers",
        "Plan": "plan",
        "Ray": "launchers",
        "Slurm": "launchers",
        "Stacked": "launchers",
        "load_sweep": "plan",
        "run_sweep": "running",
    },
)
