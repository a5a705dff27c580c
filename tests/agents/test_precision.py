"""bfloat16 factors: only inside the block, close to float32, and no worse for learning."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from cotasp import load, run
from cotasp.agents import compiled, precision, updates
from cotasp.agents.precision import product_precision, rounds_factors
from tests.continual.runs import tiny

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


@pytest.mark.parametrize("enabled", [True, False])
def test_a_device_heeds_the_precision_or_computes_in_float32(enabled, monkeypatch):
    """The reference rounds the factors itself; without oneDNN no processor does."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", enabled)
    heeds = rounds_factors("bfloat16", "cpu")
    assert enabled or not heeds
    assert not rounds_factors("float32", "cpu")
    a, b = torch.randn(2, 256, 256)
    with product_precision("bfloat16"):
        product = a @ b
    reference = a.bfloat16().float() @ b.bfloat16().float() if heeds else a @ b
    torch.testing.assert_close(product, reference, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "heeds", "warned"),
    [("bfloat16", False, 1), ("bfloat16", True, 0), ("float32", False, 0)],
)
def test_one_warning_where_the_device_lacks_the_precision(
    name, heeds, warned, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "rounds_factors", lambda name, device: heeds)
    recipe = tiny(f"agent.precision={name}", "stream.goals=[right]")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(recipe, tmp_path / "run", progress=False)["tasks"] == ["right"]
    told = [str(w.message) for w in caught]
    assert (
        sum("precision: bfloat16 products are not to be had on this cpu" in t for t in told)
        == warned
    )


@pytest.mark.parametrize(("name", "heard"), [("float32", "highest"), ("bfloat16", "medium")])
def test_distillation_and_updates_heed_the_precision(name, heard, tmp_path, monkeypatch):
    seen: dict[str, set] = {}

    def listening(name, original):
        def listen(*args):
            seen.setdefault(name, set()).add(torch.get_float32_matmul_precision())
            return original(*args)

        return listen

    distillation = listening("distillation", updates.distillation_loss)
    monkeypatch.setattr(updates, "distillation_loss", distillation)
    plain = zip(compiled.LossFunctions._fields, compiled.PLAIN)
    monkeypatch.setattr(compiled, "PLAIN", compiled.LossFunctions(*(listening(*x) for x in plain)))
    monkeypatch.setattr(precision, "rounds_factors", lambda name, device: True)
    run(tiny(f"agent.precision={name}"), tmp_path / "run", progress=False)
    assert seen == {key: {heard} for key in ("distillation", "critic_loss", "actor_loss")}


@pytest.mark.slow
def test_the_toy_is_learned_in_bfloat16_as_it_is_in_float32(tmp_path):
    edits = ["stream.goals=[right, left]", "agent.precision=bfloat16"]
    summary = run(load(SMOKE, edits), tmp_path / "run", progress=False)
    assert summary["performance"] >= 0.9
    assert summary["forgetting"] == 0
