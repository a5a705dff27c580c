"""How precisely matrix products are computed."""

from __future__ import annotations

import warnings
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


def rounds_factors(name: str, device: str) -> bool:
    """Whether a device heeds `product_precision(name)`.

    Found by trying, since no flag tells: torch calls bfloat16 supported on every processor with
    AVX-512, but oneDNN rounds float32 factors only where AMX makes that faster; and CUDA devices
    round them to TF32, from Ampere on.
    """
    factor = torch.full((256, 256), 1 + 2.0**-12, device=device)  # bfloat16 and TF32 make it 1
    with product_precision(name):
        product = factor @ torch.eye(256, device=device)
    return not torch.equal(product, factor)


def check_precision(name: str, device: str) -> None:
    """Warns when products are asked for in a precision that a device does not have."""
    if name != "float32" and not rounds_factors(name, device):
        warnings.warn(
            f"recipe.agent.precision: {name} products are not to be had on this {device}; training "
            f"computes them in float32, right but slower; precision=float32 ends this warning",
            stacklevel=2,
        )
