"""How precisely matrix products are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TORCH_NAMES = {"float32": "highest", "bfloat16": "medium"}


@contextmanager
def product_precision(name: str) -> Iterator[None]:
    """Rounds the factors of float32 matrix products to a precision, inside the block.

    Unlike autocast this makes no low-precision copies of weights and activations, whose constant
    allocation fragments memory: tensors stay float32, as do the sums over products.

    Args:
        name: `"float32"` or `"bfloat16"`.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_TORCH_NAMES[name])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
