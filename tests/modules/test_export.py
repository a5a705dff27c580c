"""Sub-networks that leave: plain modules, and files that are read without this package."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from cotasp.errors import RecipeError, RunError
from cotasp.modules import MetaPolicy, extract
from cotasp.modules.export import export_policy, plain_module


def small(**options) -> MetaPolicy:
    torch.manual_seed(0)
    policy = MetaPolicy(7, 3, (24, 20, 16), head_scale=1.0, **options)
    return extract(policy, (torch.rand(60) < 0.4).float())


@pytest.mark.parametrize("norm", ["first", "none"])
@pytest.mark.parametrize("squash_mean", [True, False])
@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "tanh", "gelu"])
def test_plain_module_computes_the_same_action_from_torch_modules_alone(
    activation, squash_mean, norm
):
    policy = small(activation=activation, squash_mean=squash_mean, norm=norm)
    module = plain_module(policy)
    assert all(type(part).__module__.startswith("torch.nn") for part in module.modules())
    x = torch.randn(11, 7)
    assert torch.equal(module(x), torch.tanh(policy(x)[0]))
    with torch.no_grad():
        policy.mean.weight.zero_()
    assert isinstance(module, nn.Sequential)
    assert module(x).abs().sum() > 0  # weights were copied


def test_exported_program_is_loaded_without_this_package(tmp_path):
    policy = small()
    path = export_policy(policy, tmp_path / "policy.pt2", {"action_repeat": 4})
    x = torch.randn(5, 7)
    torch.save(x, tmp_path / "x.pt")
    facts = {"facts.json": ""}
    torch.export.load(path, extra_files=facts)
    assert json.loads(facts["facts.json"]) == {
        "action_repeat": 4,
        "observation_size": 7,
        "action_low": "[-1.0, -1.0, -1.0]",
        "action_high": "[1.0, 1.0, 1.0]",
    }
    program = (
        "import sys, torch\n"
        "act = torch.export.load(sys.argv[1]).module()\n"
        "torch.save(act(torch.load(sys.argv[2])), sys.argv[3])\n"
        "sys.exit('cotasp' in sys.modules)\n"
    )
    arguments = [str(path), str(tmp_path / "x.pt"), str(tmp_path / "y.pt")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, cwd=tmp_path)
    expected = torch.tanh(policy(x)[0])
    torch.testing.assert_close(torch.load(tmp_path / "y.pt"), expected, atol=1e-6, rtol=0)


def test_onnx_gives_the_same_actions(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    policy = small()
    path = export_policy(policy, tmp_path / "policy.onnx", {"action_repeat": 4})
    session = runtime.InferenceSession(str(path))
    assert session.get_modelmeta().custom_metadata_map["action_repeat"] == "4"
    x = torch.randn(5, 7)
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), torch.tanh(policy(x)[0]), atol=1e-6, rtol=0)


def test_endings_may_be_in_capitals(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.export.load(export_policy(small(), tmp_path / "policy.PT2"))
    runtime.InferenceSession(str(export_policy(small(), tmp_path / "policy.ONNX")))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["policy.ONNX", "policy.PT2"]


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch, ending):
    pytest.importorskip("onnxscript")

    def full(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"policy.{ending}"
    before = export_policy(small(), path).read_bytes()
    monkeypatch.setattr(os, "replace", full)
    expected = rf"policy.{ending}: cannot be written: No space left on device; mend that, or name"
    with pytest.raises(RunError, match=expected):
        export_policy(small(squash_mean=False), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a directory that takes no files")
@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_a_place_that_takes_no_file_is_told_in_a_sentence(ending):
    with pytest.raises(RunError, match=rf"^/proc/a.{ending}: cannot be written: [\w ]+; mend that"):
        export_policy(small(), f"/proc/a.{ending}")


def test_refusals(tmp_path):
    with pytest.raises(RecipeError, match=r"policy.pt: expected a file ending with .pt2 or .onnx"):
        export_policy(small(), tmp_path / "policy.pt")
    with pytest.raises(RunError, match="no such directory; make it first"):
        export_policy(small(), tmp_path / "absent" / "policy.pt2")


def test_without_the_onnx_exporter_its_package_is_named(tmp_path, monkeypatch):
    def missing(*args, **kwargs):
        raise ModuleNotFoundError("no module", name="onnxscript")

    monkeypatch.setattr(torch.onnx, "export", missing)
    with pytest.raises(RunError, match=r"needs onnxscript; pip install 'cotasp\[onnx\]'$"):
        export_policy(MetaPolicy(3, 2, (8,)), tmp_path / "policy.onnx")
