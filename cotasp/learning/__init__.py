"""Losses, protections, agents and the learners they make."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Agent": "agent",
        "EWC": "protections",
        "Freeze": "protections",
        "Learner": "agent",
        "Method": "agent",
        "Problem": "agent",
        "Protection": "protections",
        "SAC": "sac",
        "Unprotected": "protections",
    },
)
