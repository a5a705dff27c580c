"""Our way of calling fused Adam against PyTorch's optimiser."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RunError
from cotasp.methods.adam import Adam


def gradients(step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) for shape in ((5, 3), (4,), ())]


def fresh() -> list[torch.Tensor]:
    return [torch.nn.Parameter(gradient.clone()) for gradient in gradients(99)]


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_equals_pytorchs_optimiser(layout):
    ours, theirs = fresh(), fresh()
    adam, optimiser = Adam(ours, 1e-2), torch.optim.Adam(theirs, lr=1e-2, fused=True)
    for step in range(5):
        if layout == "contiguous":
            adam.step(gradients(step))
        else:  # as autograd gives the gradient of a weight that was used transposed
            adam.step([gradient.t().contiguous().t() for gradient in gradients(step)])
        for parameter, gradient in zip(theirs, gradients(step)):
            parameter.grad = gradient
        optimiser.step()
    assert all(map(torch.equal, ours, theirs))


def test_goes_on_bit_for_bit_from_its_state():
    ours = fresh()
    adam = Adam(ours, 1e-2)
    for step in range(3):
        adam.step(gradients(step))
    copies = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    other = Adam(copies, 1e-2)
    other.load_state_dict(adam.state_dict())
    for made in (adam, other):
        made.step(gradients(3))
    assert all(map(torch.equal, ours, copies))
    assert adam.moments["exp_avg"][0].data_ptr() != other.moments["exp_avg"][0].data_ptr()


def test_refuses_moments_of_other_parameters():
    state = Adam(fresh(), 1e-2).state_dict()
    with pytest.raises(RunError, match=r"optimiser exp_avg: 0: expected numbers of shape \[2\]"):
        Adam([torch.zeros(2), torch.zeros(4), torch.zeros(())], 1e-2).load_state_dict(state)
    with pytest.raises(RunError, match="optimiser exp_avg: expected"):
        Adam([torch.zeros(5, 3)], 1e-2).load_state_dict(state)
