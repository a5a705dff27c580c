"""bfloat16 factors: only inside the block, close to float32, and no worse for learning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cotasp import load, run
from cotasp.learning.precision import product_precision

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke.yaml"


def fail_inside_the_block() -> None:
    with product_precision("bfloat16"):
        assert torch.get_float32_matmul_precision() == "medium"
        raise ZeroDivisionError


def test_precision_is_put_back_whatever_happens():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError):
        fail_inside_the_block()
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.slow
def test_the_toy_is_learned_in_bfloat16_as_it_is_in_float32(tmp_path):
    edits = ["stream.goals=[right, left]", "agent.precision=bfloat16"]
    summary = run(load(SMOKE, edits), tmp_path / "run", progress=False)
    assert summary["performance"] >= 0.9
    assert summary["forgetting"] == 0
