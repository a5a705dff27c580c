"""Random states are taken back on machines that differ from the one they come from."""

from __future__ import annotations

import torch

from cotasp.continual.randomness import random_state, set_random_state


def test_accelerators_that_are_not_here_are_left_out():
    state = random_state()
    expected = torch.rand(3)
    more = {key: [torch.zeros(16, dtype=torch.uint8)] for key in ("torch_cuda", "torch_xpu")}
    missing = {k: v for k, v in more.items() if not getattr(torch, k[6:]).is_available()}
    set_random_state({**state, **missing})
    assert torch.equal(torch.rand(3), expected)
