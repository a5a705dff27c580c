"""Checkpoints that are damaged, planted or too new: told in a line, and nothing is executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace as replaced
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cotasp.__main__ import main
from cotasp.continual.loop import resume
from cotasp.errors import RunError
from cotasp.storage import snapshot
from cotasp.storage.checkpoint import Checkpoint, seal
from cotasp.tasks.point_streams import Point
from tests.continual.runs import contents, stopped

NEWEST = "task_02_step_000000060"
ROWS = {"file": "task_02/0-20.safetensors", "start": 0, "stop": 20, "bytes": 1, "sha256": ""}


def replace(out: Path, name: str, content: bytes) -> None:
    """Puts other content in a file of the newest checkpoint, with a manifest that agrees."""
    newest = out / "checkpoints" / NEWEST
    (newest / name).unlink()
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest.pop("checksum")
    manifest["files"][name] = snapshot.write_bytes(newest / name, content)
    (newest / "manifest.json").write_text(json.dumps(seal(manifest)))


# -- damage ---------------------------------------------------------------------------------


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [flipped, cut_short, Path.unlink])
@pytest.mark.parametrize(
    "file",
    [
        f"{NEWEST}/manifest.json",
        f"{NEWEST}/state.json",
        f"{NEWEST}/tensors.safetensors",
        "rows/task_02/000000038-000000058.safetensors",
    ],
)
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(file, spoil, out, undisturbed):
    spoil(out / "checkpoints" / file)
    before = "task_02_step_000000040"
    with pytest.warns(UserWarning, match=rf"{NEWEST}: damaged: .*{before} is used instead"):
        resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_no_whole_checkpoint_is_an_error_and_nothing_is_removed(out, capsys):
    for path in (out / "checkpoints").glob("*/manifest.json"):
        cut_short(path)
    before = {p: p.stat().st_size for p in out.rglob("*") if p.is_file()}
    assert main(["resume", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cotasp: error: no checkpoint is whole: ")
    assert error.count("\n") == 1
    assert error.endswith(
        f"put one back, or run it again: cotasp run {out}/recipe.yaml --out NEW\n"
    )
    after = {p: p.stat().st_size for p in out.rglob("*") if p.is_file()}
    assert {p: size for p, size in after.items() if p.name != ".lock"} == {
        p: size for p, size in before.items() if p.name != ".lock"
    }


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (99, r"a newer cotasp .*format 99; this one reads 4\); upgrade to read it"),
        (3, r"an older cotasp .*format 3; this one reads 4\); go back to that one to read it"),
    ],
)
def test_another_format_is_refused_and_not_passed_over(version, message, out):
    path = out / "checkpoints" / NEWEST / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name != ".lock"}
    with pytest.raises(RunError, match=message):
        resume(out, progress=False)
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize("keep", [None, 3, 700])
def test_a_run_goes_on_without_metrics_that_are_missing_and_says_so(keep, out, undisturbed):
    path = out / "metrics.csv"
    whole = path.read_bytes()
    if keep is None:
        path.unlink()
    else:
        os.truncate(path, keep)
    with pytest.warns(UserWarning, match=r"metrics.csv: expected \d+ bytes, found \d+; what is"):
        resume(out, progress=False)
    there, expected = (contents(each) for each in (out, undisturbed))
    assert {k: v for k, v in there.items() if k != "metrics.csv"} == {
        k: v for k, v in expected.items() if k != "metrics.csv"
    }
    lines, all_lines = path.read_text().splitlines(), (undisturbed / "metrics.csv").read_text()
    assert lines[0] == "step,task,name,value"
    assert set(lines) < set(all_lines.splitlines())
    assert len(whole.splitlines()) > 20


def test_a_file_that_a_run_begins_with_and_that_is_gone_is_named_with_a_remedy(out):
    (out / "protocol.json").unlink()
    with pytest.raises(RunError, match=r"protocol.json: not there; a run begins with it: put it b"):
        resume(out, progress=False)


def test_a_run_whose_checkpoints_were_removed_says_that_it_begins_again(out, undisturbed):
    shutil.rmtree(out / "checkpoints")
    with pytest.warns(UserWarning, match="there is no checkpoint; the run begins again at its fir"):
        resume(out, progress=False)
    assert contents(out) == contents(undisturbed)


def test_what_a_killed_write_left_is_removed(out, undisturbed):
    folder = out / "checkpoints"
    shutil.copytree(folder / NEWEST, folder / ".task_02_step_000000080.writing")
    (folder / "rows/task_02/000000058-000000078.safetensors").write_bytes(b"half a fi")
    (out / ".writing.abc").mkdir()
    (out / ".writing.abc" / "evaluations.json").write_text('{"tasks": ["ri')
    resume(out, progress=False)
    assert not list(out.glob(".writing.*"))
    assert contents(out) == contents(undisturbed)
    assert not list(folder.glob(".*"))


# -- strangers' files -----------------------------------------------------------------------


class Bomb:
    """Unpickling it would leave a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_planted_pickle_is_never_opened(protocol, out, undisturbed, tmp_path, capsys):
    marker = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(marker), protocol)
    pickle.loads(bomb)
    assert marker.exists(), "the bomb works"
    marker.unlink()
    torch.save(Bomb(marker), tmp_path / "bomb.pt")
    newest = out / "checkpoints" / NEWEST
    for content in (bomb, (tmp_path / "bomb.pt").read_bytes()):
        for name in ("state.json", "tensors.safetensors"):
            spoilt = Path(shutil.copytree(out, tmp_path / f"{name}{len(content)}"))
            replace(spoilt, name, content)
            with pytest.warns(UserWarning, match="damaged"):
                resume(spoilt, progress=False)
            assert contents(spoilt) == contents(undisturbed)
    for place in (newest / "learner.pkl", newest / "data.pt", out / "state.pickle"):
        place.write_bytes(bomb)
    for name in ("recipe.yaml", "protocol.json"):
        spoilt = Path(shutil.copytree(out, tmp_path / name))
        (spoilt / name).write_bytes(bomb)
        assert main(["resume", str(spoilt), "--quiet"]) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
    resume(out, progress=False)
    assert contents(out) == contents(undisturbed)
    assert not marker.exists()


def test_a_yaml_tag_executes_nothing(out, tmp_path, capsys):
    marker = tmp_path / "executed"
    recipe = (out / "recipe.yaml").read_text()
    for tag in ("python/object/apply:os.mknod", "python/name:os.system", "python/module:os"):
        (out / "recipe.yaml").write_text(recipe + f"\nextra: !!{tag} ['{marker}']\n")
        for command in (["resume", str(out)], ["evaluate", str(out)]):
            assert main(command) == 2
            assert "tags (!) are not allowed" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize(
    "link",
    [
        "episodes.csv",
        "metrics.csv",
        "tensorboard",
        "checkpoints",
        "checkpoints/rows",
        "checkpoints/rows/task_09",
        "checkpoints/task_09",
        ".lock",
    ],
)
def test_links_out_of_the_directory_are_refused_and_not_followed(link, out, tmp_path, capsys):
    path, elsewhere = out / link, tmp_path / "home"
    if path.is_dir():
        shutil.copytree(path, elsewhere)
        shutil.rmtree(path)
    elif path.suffix == ".csv" or link == ".lock":
        elsewhere.write_text("years of work\n" * 1000)
        path.unlink()
    else:
        (elsewhere / "a").mkdir(parents=True)
    if elsewhere.is_dir():
        (elsewhere / "thesis.tex").write_text("years of work")
        (elsewhere / "a").mkdir(exist_ok=True)
        (elsewhere / "a" / "data.csv").write_text("more of it")
    path.symlink_to(elsewhere)
    files = [p for p in (elsewhere, *elsewhere.rglob("*")) if p.is_file()]
    before = {p: p.read_bytes() for p in files}
    for command in (["resume", "--quiet"], ["evaluate"]):
        assert main([*command, str(out)]) == 1
        assert f"{path}: expected files of the run, found a symbolic" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in files} == before


def changed_tensors(out: Path, change) -> None:
    tensors = safetensors.torch.load_file(out / "checkpoints" / NEWEST / "tensors.safetensors")
    change(tensors)
    replace(out, "tensors.safetensors", safetensors.torch.save(tensors))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("/learner/actor/meta_policy/body.layers.0.weight", torch.zeros(3, 3)),
        ("/learner/actor/codes", torch.zeros(2, 7)),
        ("/learner/actor/embeddings", torch.zeros(1, 1)),
        ("/learner/actor/training/code", torch.zeros(5)),
        ("/learner/values/optimisers/0/exp_avg/0", torch.zeros(0)),
        ("/collection/now/observation", torch.zeros(9, 9)),
        ("/random/torch_cpu", torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_tensors_of_wrong_shapes_are_refused(place, value, out, capsys):
    def change(tensors):
        assert place in tensors
        tensors[place] = value

    changed_tensors(out, change)
    assert main(["resume", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert f"{NEWEST}: cannot be loaded: " in error
    assert error.count("\n") == 1


def test_what_agrees_with_its_checksum_and_is_no_safetensors_is_damaged(out):
    replace(out, "tensors.safetensors", b"not tensors")
    with pytest.warns(UserWarning, match=r"damaged: tensors\.safetensors is no safetensors file"):
        resume(out, progress=False)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {1, 2}}, "/a: a state cannot hold a set"),
        ({"a": {3: 1}}, "/a: a state cannot have the key 3"),
        ({"a": {"$": 1}}, "/a: a state cannot have the key '\\$'"),
        ({"a": {"b": torch.ones(1)}, "a/b": torch.ones(1)}, "/a/b: two parts of a state have this"),
    ],
)
def test_a_state_that_could_not_be_read_back_is_not_written(state, message):
    with pytest.raises(TypeError, match=message):
        snapshot.pack(state)


def test_a_state_without_its_tensors_is_damaged(out):
    changed_tensors(out, lambda tensors: tensors.pop("/learner/actor/codes"))
    with pytest.warns(UserWarning, match="do not belong together"):
        resume(out, progress=False)


@pytest.mark.parametrize("file", ["../../../recipe.yaml", "/etc/passwd", "a/../b/1-2.safetensors"])
def test_a_manifest_cannot_name_files_elsewhere(file, out):
    path = out / "checkpoints" / NEWEST / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum")
    manifest["rows"]["task_02"][0]["file"] = file
    path.write_text(json.dumps(seal(manifest)))
    with pytest.warns(UserWarning, match="names files outside of its directory"):
        resume(out, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"tensorboard/../../stolen": 1}},
        {"metrics": {"/etc/passwd": 1}},
        {"metrics": ["metrics.csv"]},
        {"metrics": {"metrics.csv": "x"}},
        {"rows": 3},
        {"rows": {"task_02": [{"start": 0}]}},
        {"metrics": {"metrics.csv": -1}},
        {"metrics": {"metrics.csv": True}},
        {"metrics": {"wandb/a": 1}},
        {"rows": {"task_02": [{**ROWS, "start": "0"}]}},
        {"rows": {"task_02": [{**ROWS, "start": 20}]}},
        {"wall_seconds": "long"},
        {"peak_memory_bytes": "much"},
        {"cpu_seconds": "long"},
        {"cpu_seconds_at_evaluations": 3},
        {"cpu_seconds_at_evaluations": ["long"]},
        {"files": {}},
        {"files": {"state.json": {"sha256": ""}, "tensors.safetensors": ROWS}},
        {"files": {"state.json": {"bytes": 1}, "tensors.safetensors": ROWS}},
        {"files": {"state.json": ROWS, "tensors.safetensors": {**ROWS, "bytes": 1.0}}},
        {"files": None},
        *({"rows": {"task_02": [{k: v for k, v in ROWS.items() if k != key}]}} for key in ROWS),
    ],
    ids=str,
)
def test_a_manifest_of_another_form_is_damaged(change, out):
    path = out / "checkpoints" / NEWEST / "manifest.json"
    manifest = {**json.loads(path.read_text()), **change}
    manifest.pop("checksum")
    path.write_text(json.dumps(seal(manifest)))
    with pytest.raises(RunError, match=r"manifest.json (does not have the form|names files outs)"):
        Checkpoint.open(path.parent)


@pytest.mark.parametrize("key", ["files", "rows", "metrics", "wall_seconds"])
def test_a_manifest_without_a_key_is_told_in_a_line(key, out):
    path = out / "checkpoints" / NEWEST / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum"), manifest.pop(key)
    path.write_text(json.dumps(seal(manifest)))
    with pytest.warns(UserWarning, match="damaged: manifest.json does not have the form of one"):
        resume(out, progress=False)


def test_rows_that_no_file_holds_are_told(out):
    state = out / "checkpoints" / NEWEST / "state.json"
    tree = json.loads(state.read_text())
    tree["learner"]["replay"]["transitions"]["start"] = -5
    replace(out, "state.json", json.dumps(tree).encode())
    with pytest.raises(RunError, match="of task_02 are not all there"):
        Checkpoint.open(state.parent).content_hash()


@pytest.mark.parametrize("name", ["a:1", "ns/Über-v1", "a b", "..x", "-", "x" * 90])
def test_a_task_of_any_name_can_be_resumed(name, tmp_path, monkeypatch):
    make = Point.make_tasks
    monkeypatch.setattr(
        Point, "make_tasks", lambda self: tuple(replaced(t, name=name + t.name) for t in make(self))
    )
    out = stopped(tmp_path / "run", 155)
    assert resume(out, progress=False)["tasks"] == [f"{name}right", f"{name}left"]
