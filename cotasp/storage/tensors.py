"""What is asked of tensors before they are saved or taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from cotasp.errors import RunError


def check_shapes(
    where: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]
) -> None:
    """Raises RunError unless there are just these floating tensors, of these shapes."""
    if tensors.keys() != expected.keys():
        raise RunError(f"{where}: expected {sorted(expected)}, got {sorted(tensors)}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != torch.Size(shape) or not tensor.is_floating_point():
            raise RunError(
                f"{where}: {name}: expected numbers of shape {list(shape)}, "
                f"got {tensor.dtype} of {list(tensor.shape)}"
            )


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None: there is none."""
    for name, tensor in tensors:
        if not tensor.is_floating_point():
            continue
        # a sum is far cheaper, but may overflow where every number is finite
        if not torch.isfinite(tensor.sum()) and not bool(torch.isfinite(tensor).all()):
            return name
    return None
