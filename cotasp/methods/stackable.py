"""Which methods can be computed together for many learners."""

from __future__ import annotations

from cotasp.methods.memory import Rehearses
from cotasp.methods.method import Method
from cotasp.methods.protection import Transforms
from cotasp.modules.beginning import Scales
from cotasp.modules.masks import Learned
from cotasp.modules.scored import Scored


def not_stackable(method: Method) -> str | None:
    """The component that steps of many stacked actors cannot serve; None: there is none."""
    joint = isinstance(method.mask, Learned) and method.mask.joint
    distils = getattr(method.mask, "distils", False)
    if joint or distils or isinstance(method.mask, (Scored, Scales)):
        return type(method.mask).__name__
    if method.actor.deviation is not None:
        return "actor.deviation"
    for renewal in method.renewals:
        return type(renewal).__name__
    for protection in method.protections:
        asks = getattr(protection, "asks_policy", False)
        if asks or isinstance(protection, (Transforms, Rehearses)):
            return type(protection).__name__
    return None
