"""Each mask policy's own rule; the contract of all is in `tests/test_contracts.py`."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.modules.masks import RandomMask, Sigmoid, Step, TopK

K = 160


def codes(rows: int = 4) -> torch.Tensor:
    """Sparse codes with zeros, negative entries and entries above 1."""
    code = torch.randn(rows, K, generator=torch.Generator().manual_seed(3))
    return torch.where(code.abs() < 0.4, 0.0, code)


@pytest.mark.parametrize("policy", [Step("identity"), TopK(9, "identity")], ids=str)
def test_the_identity_passes_every_gradient(policy):
    code = codes().requires_grad_()
    (gradient,) = torch.autograd.grad(policy(code).sum(), code)
    assert torch.equal(gradient, torch.ones_like(gradient))


def test_step_is_the_positive_support():
    code = torch.tensor([-1.0, 0.0, 1e-30, 0.5, 2.0])
    assert Step()(code).tolist() == [0, 0, 1, 1, 1]


def test_topk_takes_the_largest_and_never_a_non_positive_entry():
    code = torch.tensor([0.1, 0.5, -3.0, 0.3, 0.0])
    assert TopK(k=2)(code).tolist() == [0, 1, 0, 1, 0]
    assert TopK(k=5)(code).tolist() == [1, 1, 0, 1, 0]
    with pytest.raises(RecipeError, match="width 5, got 6"):
        TopK(k=6)(code)


def test_sigmoid_anneals_to_a_step():
    policy = Sigmoid(threshold=0.1, start=0.1, stop=1e-3)
    code = torch.tensor([0.0, 0.09, 0.11, 1.0])
    assert policy(code, 1.0).tolist() == [0, 0, 1, 1]
    early, late = policy(code, 0.0), policy(code, 0.999)
    assert ((early > 0.1) & (early < 0.99)).sum() == 3
    torch.testing.assert_close(late, policy(code, 1.0), atol=1e-4, rtol=0)


def test_random_masks_ignore_similarity_but_remember_the_code():
    policy = RandomMask(density=0.25)
    code = codes(1)[0]
    near = code.clone()
    near[int((code == 0).nonzero()[0])] = 1e-6  # one neuron more in the support
    assert int(policy(code).sum()) == K // 4
    assert torch.equal(policy(code), policy(1.1 * code))  # the same support, solved elsewhere
    assert not torch.equal(policy(code), policy(near))
    assert not torch.equal(policy(code), RandomMask(density=0.25, seed=1)(code))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TopK(k=0),
        lambda: Sigmoid(threshold=0.0),
        lambda: Sigmoid(start=1e-4, stop=1e-2),
        lambda: RandomMask(density=0.0),
        lambda: RandomMask(density=1.5),
    ],
)
def test_values_out_of_range_are_refused(make):
    with pytest.raises(RecipeError, match="expected"):
        make()
