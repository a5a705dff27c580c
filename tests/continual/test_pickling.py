"""What is sent to another process arrives as it was."""

from __future__ import annotations

import pickle

import pytest
import torch
from tensordict import TensorDict
from torch import nn

from cotasp.continual.pickling import dumps

NUMBERS = torch.arange(6, dtype=torch.float32)


@pytest.mark.parametrize(
    "tensor",
    [
        NUMBERS,
        NUMBERS.double().reshape(2, 3).mT,
        NUMBERS > 2,
        NUMBERS.long()[::2],
        torch.tensor(3.5),
        torch.empty(0, 4),
        NUMBERS.bfloat16(),
        NUMBERS.expand(2, 6),
        NUMBERS.to_sparse(),
        torch.ones(2, requires_grad=True),
        nn.Parameter(NUMBERS.clone()),
    ],
    ids=lambda t: f"{type(t).__name__}-{t.dtype}-{tuple(t.shape)}-{t.layout}".replace("torch.", ""),
)
def test_tensors_arrive(tensor):
    arrived = pickle.loads(dumps(tensor))
    assert type(arrived) is type(tensor)
    assert arrived.dtype == tensor.dtype
    assert arrived.layout == tensor.layout
    assert arrived.requires_grad == tensor.requires_grad
    assert torch.equal(arrived.to_dense(), tensor.to_dense())
    with torch.no_grad():
        arrived.zero_()  # it can be written to, and nobody else's is


def test_what_holds_tensors_arrives():
    data = TensorDict({"a": torch.randn(4, 2), "next": {"b": torch.zeros(4, 1).bool()}}, [4])
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    data_there, module_there, rest = pickle.loads(dumps((data, module, {"x": 1})))
    assert (data_there == data).all()
    assert data_there.batch_size == data.batch_size
    for (name, weight), (same, there) in zip(
        module.named_parameters(), module_there.named_parameters(), strict=True
    ):
        assert name == same
        assert torch.equal(weight, there)
        assert there.requires_grad
    assert rest == {"x": 1}
