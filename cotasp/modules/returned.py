"""What is wrong with what a component of another package returned, in words; None: nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def wrong_tensor(returned: Any, shape: torch.Size, dtype: torch.dtype) -> str | None:
    """Unless it is a tensor of this shape and type."""
    if not isinstance(returned, Tensor):
        return f"{returned!r:.80}"
    if returned.shape == shape and returned.dtype == dtype:
        return None
    return f"{str(returned.dtype).removeprefix('torch.')} of shape {list(returned.shape)}"


def wrong_tensors(
    returned: Any,
    weights: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    every: bool = True,
) -> str | None:
    """Unless there is, by name, a tensor of the shape of each weight.

    Args:
        returned: by a component.
        weights: by name.
        dtype: of the tensors; None: that of the weights.
        every: whether none may be missing.
    """
    if not isinstance(returned, Mapping):
        return f"{returned!r:.80}"
    for name, value in returned.items():
        if name not in weights:
            return f"{name!r}, which is none of {', '.join(weights)}"
        wrong = wrong_tensor(value, weights[name].shape, dtype or weights[name].dtype)
        if wrong is not None:
            return f"{name}: {wrong} instead of {list(weights[name].shape)}"
    missing = [name for name in weights if every and name not in returned]
    return f"none for {', '.join(missing)}" if missing else None


def wrong_state(returned: Any) -> str | None:
    """Unless it is tensors by name, by what they are."""
    if not isinstance(returned, Mapping):
        return f"{returned!r:.80}"
    for key, tensors in returned.items():
        if not isinstance(tensors, Mapping):
            return f"{key}: {type(tensors).__name__}"
        for name, value in tensors.items():
            if not isinstance(value, Tensor):
                return f"{key}: {name}: {value!r:.80}"
    return None
