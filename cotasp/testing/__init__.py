"""Contract checks: what every component of a kind promises, for authors of components.

Each `check_KIND(component)` takes an instance and raises AssertionError with a sentence that says
which promise it breaks.  Where a component must train to be judged, a small learner of made-up
tasks trains it, for some seconds.

>>> from cotasp.modules import TopK
>>> from cotasp.testing import check_mask
>>> check_mask(TopK(k=9))
"""

from cotasp._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "check_agent": "agents",
        "check_critic": "critics",
        "check_encoder": "encoders",
        "check_mask": "masks",
        "check_memory": "memories",
        "check_protection": "protections",
        "check_recall": "encoders",
        "check_renewal": "renewals",
        "check_solver": "dictionaries",
        "check_stream": "streams",
        "check_update_rule": "dictionaries",
    },
)
