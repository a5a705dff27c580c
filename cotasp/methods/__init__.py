"""What is continual: protections, the memory of transitions, and the sub-network in training."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "EWC": "protections",
        "Freeze": "protections",
        "Problem": "problem",
        "Protection": "protections",
        "Unprotected": "protections",
    },
)
