"""What is continual: the actor, its protections and renewals, and the memory of transitions."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ContinualActor": "actor",
        "EWC": "ewc",
        "Ending": "protection",
        "Freeze": "freeze",
        "Method": "method",
        "Now": "protection",
        "Problem": "problem",
        "Protection": "protection",
        "Renewal": "renewal",
        "Unprotected": "freeze",
    },
)
