"""The contract of mask policies, over every registered name, and each one's own rule."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.modules.masks import RandomMask, Sigmoid, Step, TopK
from cotasp.registry import KINDS

K = 160  # wider than the default k of `topk`


def variants():
    for name in KINDS["mask"].names():
        if name in ("step", "topk"):
            for gradient in ("clipped", "identity"):
                yield pytest.param(
                    KINDS["mask"].get(name)(gradient=gradient), id=f"{name}-{gradient}"
                )
        else:
            yield pytest.param(KINDS["mask"].get(name)(), id=name)


def codes(rows: int = 4) -> torch.Tensor:
    """Sparse codes with zeros, negative entries and entries above 1."""
    code = torch.randn(rows, K, generator=torch.Generator().manual_seed(3))
    return torch.where(code.abs() < 0.4, 0.0, code)


@pytest.mark.parametrize("policy", list(variants()))
class TestContract:
    def test_range_shape_dtype_and_input_unchanged(self, policy):
        for dtype in (torch.float32, torch.float64):
            code = codes().to(dtype)
            before = code.clone()
            for progress in (0.0, 0.3, 1.0):
                mask = policy(code, progress)
                assert mask.shape == code.shape
                assert mask.dtype == dtype
                assert ((mask >= 0) & (mask <= 1)).all()
            assert torch.equal(code, before)

    def test_binary_when_training_is_done(self, policy):
        mask = policy(codes(), 1.0)
        assert ((mask == 0) | (mask == 1)).all()
        assert mask.any(-1).all()

    def test_deterministic_and_row_by_row(self, policy):
        code = codes()
        together = policy(code)
        assert torch.equal(together, policy(code.clone()))
        assert torch.equal(together, torch.stack([policy(row) for row in code]))

    def test_gradient_is_the_rule_it_states(self, policy):
        code = codes().requires_grad_()
        progress = 0.5
        mask = policy(code, progress)
        if policy.gradient == "none":
            assert not mask.requires_grad
            return
        (grad,) = torch.autograd.grad(mask.sum(), code)
        s = code.detach()
        if policy.gradient == "identity":
            expected = torch.ones_like(s)
        elif policy.gradient == "clipped":
            expected = ((mask.detach() == 1) & (s > 0) & (s < 1)).float()
        else:
            assert policy.gradient == "smooth"
            h = 1e-6
            wide = s.double()
            expected = ((policy(wide + h, progress) - policy(wide - h, progress)) / (2 * h)).float()
        torch.testing.assert_close(grad, expected, atol=1e-3, rtol=1e-4)


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
