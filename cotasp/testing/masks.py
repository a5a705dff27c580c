"""What mask policies promise."""

from __future__ import annotations

import torch
from torch import Tensor

from cotasp.methods.freeze import Freeze
from cotasp.modules.masks import MaskPolicy
from cotasp.testing._ensure import ensure, ensure_close
from cotasp.testing._toy import ensure_compact_is_dense, ensure_lasts


def check_mask(mask: MaskPolicy) -> None:
    """Checks a mask's arithmetic, and that a run with it forgets nothing, is the same compact and
    dense, and resumes.

    Args:
        mask: fits layers of 40 and 48 units.

    Raises:
        AssertionError: a promise of `cotasp.modules.MaskPolicy` is broken.
    """
    _check_values(mask)
    _check_gradient(mask)
    freeze = (Freeze(by="tasks"),)
    ensure_lasts("this mask and freeze", mask=mask, protections=freeze)
    ensure_compact_is_dense("this mask", mask=mask, protections=freeze)


def _codes() -> Tensor:
    """Sparse codes with zeros, negative entries and entries above 1."""
    code = torch.randn(4, 40, generator=torch.Generator().manual_seed(3))
    return torch.where(code.abs() < 0.4, 0.0, code)


def _check_values(mask: MaskPolicy) -> None:
    for dtype in (torch.float32, torch.float64):
        code = _codes().to(dtype)
        before = code.clone()
        for progress in (0.0, 0.3, 1.0):
            phi = mask(code, progress)
            ensure(phi.shape == code.shape, f"masks have the code's shape, got {list(phi.shape)}")
            ensure(phi.dtype == dtype, f"masks have the code's type {dtype}, got {phi.dtype}")
            ensure(((phi >= 0) & (phi <= 1)).all(), "masks are in [0, 1]")
        ensure(torch.equal(code, before), "codes stay")
    code = _codes()
    last = mask(code)
    ensure(((last == 0) | (last == 1)).all(), "a finished task's mask is binary")
    ensure(last.any(-1).all(), "a code with positive entries has units")
    ensure(torch.equal(last, mask(code.clone())), "equal codes have equal masks")
    rows = torch.stack([mask(row) for row in code])
    ensure(torch.equal(last, rows), "a mask depends on its own code alone")
    if mask.local:
        changed = code.clone()
        changed[:, 0] = 0.7
        same = mask(changed)[:, 1:] == last[:, 1:]
        ensure(same.all(), "a unit's mask depends on its own code alone, as `local` says")


def _check_gradient(mask: MaskPolicy) -> None:
    """By the rule that the mask states; see `cotasp.modules.masks`."""
    code = _codes().requires_grad_()
    phi = mask(code, 0.5)
    if mask.gradient == "none":
        ensure(not phi.requires_grad, "without a gradient, the mask has none")
        return
    ensure(phi.requires_grad, f"the code has a gradient, as {mask.gradient!r} says")
    (gradient,) = torch.autograd.grad(phi.sum(), code)
    s = code.detach()
    if mask.gradient == "identity":
        expected = torch.ones_like(s)
    elif mask.gradient == "clipped":
        expected = ((phi.detach() == 1) & (s > 0) & (s < 1)).float()
    else:
        ensure(mask.gradient == "smooth", f"{mask.gradient!r} is a gradient rule")
        h, wide = 1e-6, s.double()
        expected = ((mask(wide + h, 0.5) - mask(wide - h, 0.5)) / (2 * h)).float()
    promise = f"the gradient is the {mask.gradient} one"
    ensure_close(gradient, expected, promise, rtol=1e-4, atol=1e-3)
