"""Which methods can be computed together for many learners."""

from __future__ import annotations

from cotasp.methods.memory import Rehearses
from cotasp.methods.method import Method
from cotasp.methods.protection import Transforms, asks
from cotasp.modules.mask_capabilities import Keeps, Learned, Scales, Scored, imitates


def not_stackable(method: Method, returning: bool = False) -> str | None:
    """The component that steps of many stacked actors cannot serve; None: there is none.

    Args:
        method: its components.
        returning: whether tasks share a policy: one that returns reads the weights it has kept.
    """
    reads_a_part = returning and isinstance(method.mask, Keeps)
    alone = isinstance(method.mask, (Learned, Scored, Scales))
    if alone or reads_a_part or imitates(method.mask):
        return type(method.mask).__name__
    if method.actor.deviation is not None:
        return "actor.deviation"
    for renewal in method.renewals:
        return type(renewal).__name__
    for protection in method.protections:
        if asks(protection, "policy") or isinstance(protection, (Transforms, Rehearses)):
            return type(protection).__name__
    return None
