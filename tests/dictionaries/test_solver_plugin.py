"""A solver from a package of its own, installed and found by its entry point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "plugin" / "solver"

SCRIPT = """
import torch
from cotasp.dictionaries import sparse_encode
from cotasp.registry import KINDS

assert "ista" in KINDS["solver"].names()
torch.manual_seed(0)
D = torch.nn.functional.normalize(torch.randn(20, 10, dtype=torch.float64))
X = torch.randn(3, 10, dtype=torch.float64)
theirs = sparse_encode(X, D, lmbda=0.5, solver="ista")
ours = sparse_encode(X, D, lmbda=0.5)
assert theirs.converged.all(), theirs.kkt
torch.testing.assert_close(theirs.code, ours.code, atol=1e-5, rtol=0)
solver = KINDS["solver"].make("ista", max_iter=7)
assert KINDS["solver"].name_of(solver) == "ista"
print("found", sparse_encode(X, D, lmbda=0.5, solver="ista", init=ours.code).n_iter.tolist())
"""


@pytest.mark.slow
def test_installed_package_provides_a_solver(tmp_path):
    project, site = tmp_path / "project", tmp_path / "site"
    shutil.copytree(SOURCE, project)  # building writes beside the source
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run(
        [*pip, "--quiet", "--target", str(site), str(project)],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:cotasp", "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "found [2000, 2000, 2000]"
