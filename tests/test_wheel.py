"""The wheel and the sdist, in an empty folder, away from the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from cotasp import __version__

ROOT = Path(__file__).parents[1]


def call(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(tmp_path):
    """Dependencies are those of this environment: only the package itself is installed."""
    pytest.importorskip("hatchling")
    dist, site, empty = (tmp_path / name for name in ("dist", "site", "empty"))
    empty.mkdir()
    call(sys.executable, "-m", "hatchling", "build", "-d", dist, cwd=ROOT)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert __version__ in wheel.name
    shipped = {p.relative_to(ROOT).as_posix() for p in (ROOT / "recipes").rglob("*.yaml")}
    assert {f"cotasp/{name}" for name in shipped} <= {*zipfile.ZipFile(wheel).namelist()}
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {*shipped, "CITATION.cff", "cotasp/py.typed", "pyproject.toml"} <= names
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--target", site)
    call(sys.executable, "-m", "pip", "install", *options, wheel, cwd=empty)

    def cotasp(*arguments: str) -> str:
        code = "import sys; sys.path.remove(''); from cotasp.__main__ import main; sys.exit(main())"
        return call(sys.executable, "-c", code, *arguments, cwd=empty, PYTHONPATH=str(site))

    where = "import cotasp; print(cotasp.__file__)"
    assert str(site) in call(sys.executable, "-c", where, cwd=empty, PYTHONPATH=str(site))
    assert "lars" in cotasp("list", "solver")
    brief = [
        "steps_per_task=60",
        "frames_per_batch=20",
        "agent.warmup_steps=20",
        "evaluation.every=60",
    ]
    assert "see runs/smoke-seed0" in cotasp("run", "smoke", *brief, "--quiet")
    assert "done: 1 run" in cotasp("report", "runs/smoke-seed0")
    assert "seed: 0" in cotasp("show", "recipes/quickstart.yaml")
    assert (empty / "runs/smoke-seed0/report/index.html").is_file()
    assert "done: acme" in cotasp("new", "plugin", "acme", "--kind", "mask")
