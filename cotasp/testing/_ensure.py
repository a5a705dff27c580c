"""Assertions that hold in optimised Python, too."""

from __future__ import annotations

import torch
from torch import Tensor


def ensure(holds: bool | Tensor, promise: str) -> None:
    """Raises AssertionError, with the promise that is broken, unless it holds."""
    if not holds:
        raise AssertionError(promise)


def ensure_close(one: Tensor, other: Tensor, promise: str, rtol: float, atol: float) -> None:
    """Raises AssertionError, with the promise and by how much it is broken."""
    try:
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
    except AssertionError as error:
        raise AssertionError(f"{promise}: {error}") from None
