"""What renewals promise."""

from __future__ import annotations

from typing import Any

import torch

from cotasp.methods.freeze import Freeze
from cotasp.methods.renewal import Renewal
from cotasp.methods.renewing import network_view
from cotasp.testing._ensure import ensure
from cotasp.testing._toy import OBS, ensure_lasts, ensure_nothing_forgotten, toy, train


def check_renewal(renewal: Renewal) -> None:
    """Checks that nothing guarded moves, that weights are returned and not written to, by the
    renewal's own random numbers, and that a run with it resumes.

    Args:
        renewal: due within 10 updates.

    Raises:
        AssertionError: a promise of `cotasp.methods.Renewal` is broken.
    """
    ensure(1 <= renewal.every <= 10, f"every is in [1, 10] for this check, got {renewal.every}")
    learner: Any = toy(renewals=(renewal,))
    train(learner, 0)
    train(learner, 1, stop=30)
    learner.actor.train("weights", 0.5)
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(16, OBS, generator=generator)
    view = network_view(learner.actor.sub, observations, generator, {}, progress=0.5)
    parts = {"weights": view.weights, "fixed": view.fixed, "batch": {"": observations}}
    before = {part: {k: t.clone() for k, t in of.items()} for part, of in parts.items()}
    random = torch.get_rng_state()
    with torch.no_grad():
        new = renewal.renew(view)
    same = torch.equal(torch.get_rng_state(), random)
    ensure(same, "random numbers are drawn by the network's generator alone")
    for part, of in parts.items():
        for name, tensor in of.items():
            ensure(torch.equal(tensor, before[part][name]), f"{part} {name} is not written to")
    for name, values in new.items():
        ensure(name in view.weights, f"{name!r} is a parameter of the network")
        fits = values.shape == view.weights[name].shape
        ensure(fits, f"new values of {name} have its shape, got {list(values.shape)}")
        ensure(values.isfinite().all(), f"new values of {name} are finite")
    by_tasks = (Freeze(by="tasks"),)
    ensure_lasts("this renewal and freeze by owners", renewals=(renewal,))
    ensure_nothing_forgotten(
        "this renewal and freeze by tasks", renewals=(renewal,), protections=by_tasks
    )
