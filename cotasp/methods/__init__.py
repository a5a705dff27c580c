"""What is continual: the actor, its protections and renewals, and the memory of transitions."""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Batch": "batch",
        "Begins": "protection",
        "ContinualActor": "actor",
        "EWC": "ewc",
        "Ending": "protection",
        "Freeze": "freeze",
        "Guards": "protection",
        "LossRows": "trained",
        "Memory": "memory",
        "Method": "method",
        "Network": "renewal",
        "Now": "protection",
        "Penalises": "protection",
        "Problem": "problem",
        "Protection": "protection",
        "Rehearsal": "batch",
        "Rehearses": "memory",
        "Remembers": "protection",
        "Renewal": "renewal",
        "TrainedActor": "trained",
        "Transforms": "protection",
        "Unprotected": "freeze",
        "free_units": "renewal",
        "renew_units": "renewal",
        "squared_distance": "protection",
    },
)
