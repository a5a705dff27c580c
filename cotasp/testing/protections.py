"""What protections promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cotasp.errors import RecipeError
from cotasp.methods.freeze import Unprotected
from cotasp.methods.protection import Begins, Guards, Protection, Remembers, check_protections
from cotasp.modules.mask_capabilities import ChecksActor
from cotasp.modules.specs import ActorSpec
from cotasp.testing._ensure import ensure
from cotasp.testing._toy import (
    ACTOR,
    ensure_compact_is_dense,
    ensure_resumes,
    first_difference,
    tensors,
    toy,
    train,
    with_fields,
)


def check_protection(protection: Protection, idle: Protection | None = None) -> None:
    """Checks that the first task is fine-tuning's bit for bit (unless a state is there from the
    beginning), that a protection of no strength does nothing at all, that its state is tensors, and
    that a run with it is the same compact and dense, and resumes.

    Args:
        protection: what is checked.
        idle: one that is to keep nothing; None: the same with `weight` 0, if it has that field.

    Raises:
        AssertionError: a promise of `cotasp.methods.Protection` is broken.
    """
    check_protections([protection])
    actor = _actor_for(protection)
    plain = toy(protections=(Unprotected(),), actor=actor)
    protected = toy(protections=(protection,), actor=actor)
    ends = []
    for learner in (plain, protected):
        torch.manual_seed(1)
        train(learner, 0)
        ends.append((tensors(learner), torch.get_rng_state()))
    place = first_difference(ends[0][0], ends[1][0])
    begins = isinstance(protection, Begins)  # it may act from the first update on
    ensure(place is None or begins, f"the first task is fine-tuning's bit for bit; {place} differs")
    same = torch.equal(ends[0][1], ends[1][1])
    ensure(same, "random numbers are drawn by the protection's own generator alone")
    _check_state(protection, protected)
    _check_guard(protection, protected)

    if idle is None and hasattr(protection, "weight"):
        idle = with_fields(protection, weight=0.0)
    if idle is not None:
        nothing = toy(protections=(idle,), actor=actor)
        torch.manual_seed(1)
        train(nothing, 0)
        for learner in (plain, nothing):
            torch.manual_seed(2)
            train(learner, 1)
        place = first_difference(tensors(plain), tensors(nothing))
        ensure(place is None, f"at weight 0 all runs as without; {place} differs")
    ensure_resumes("this protection", protections=(protection,), actor=actor)
    ensure_compact_is_dense("this protection", protections=(protection,), actor=actor)


def _actor_for(protection: Protection) -> ActorSpec:
    """The toy's, with Gaussian weights for a protection that refuses numbers."""
    if isinstance(protection, ChecksActor):
        try:
            protection.check_actor(ACTOR)
        except RecipeError:
            return replace(ACTOR, deviation=0.05)
    return ACTOR


def _check_state(protection: Protection, learner: Any) -> None:
    """Of a learner that has finished a task."""
    state = learner.actor.components.protections[0].state
    leaves = [leaf for of in state.values() for leaf in of.values()]
    for leaf in leaves:
        ensure(isinstance(leaf, Tensor), f"state is tensors, got a {type(leaf).__name__}")
        ensure(not leaf.requires_grad, "state has no gradient")
        ensure(leaf.isfinite().all(), "state is finite")
    if isinstance(protection, Remembers):
        weights = [p.data_ptr() for p in learner.actor.meta_policy.parameters()]
        ensure(bool(leaves), "what remembers has state")
        shared = any(leaf.data_ptr() in weights for leaf in leaves)
        ensure(not shared, "state is copied, and does not change as the weights do")


def _check_guard(protection: Protection, learner: Any) -> None:
    """Of a new learner, and of one that has finished a task."""
    if not isinstance(protection, Guards):
        return
    new: Any = toy(protections=(protection,), actor=_actor_for(protection))
    guard = protection.guard(new.actor.meta_policy, new.actor.ownership)
    ensure(guard is None or all(g.all() for g in guard.values()), "at first, all may change")
    policy = learner.actor.meta_policy
    guard = protection.guard(policy, learner.actor.ownership)
    if guard is None:
        return
    shapes = {name: weight.shape for name, weight in policy.named_parameters()}
    ensure({k: g.shape for k, g in guard.items()} == shapes, "a guard speaks of every parameter")
    ensure(all(g.dtype == torch.bool for g in guard.values()), "a guard is bool")
