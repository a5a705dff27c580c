"""Where something is to be written, it can be: said before work is done for it."""

from __future__ import annotations

import os

import pytest

from cotasp.__main__ import main
from cotasp.errors import RecipeError, RunError
from cotasp.storage.rundir import RunDirectory
from cotasp.targets import check_file, check_writable, replacing


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """A directory that cannot be written into, also where tests run as root."""
    folder, access = tmp_path / "read-only", os.access
    folder.mkdir()
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and str(path) != str(folder)
    )
    return folder


def test_a_directory_that_is_read_only_is_named(read_only):
    for path in (read_only, read_only / "run", read_only / "a" / "run"):
        with pytest.raises(RunError, match=rf"cannot be written: {read_only} is read-only; name"):
            check_writable(path)
    with pytest.raises(RunError, match="is read-only"):
        RunDirectory.check_free(read_only / "run")
    with pytest.raises(RunError, match="is read-only"):
        check_file(read_only / "film.gif", (".gif",))


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(RecipeError, match=r"x\.pt: expected a file ending with \.pt2 or \.onnx"):
        check_file(tmp_path / "x.pt", (".pt2", ".onnx"))
    (tmp_path / "d.gif").mkdir()
    with pytest.raises(RunError, match="expected a file or nothing there, found a directory"):
        check_file(tmp_path / "d.gif", (".gif",))
    with pytest.raises(RunError, match="no such directory; make it first"):
        check_file(tmp_path / "no" / "x.gif", (".gif",))
    assert check_file(tmp_path / "X.GIF", (".gif",)) == tmp_path / "X.GIF"


def test_commands_refuse_before_torch_is_imported(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("stream: point\n")
    monkeypatch.setattr("cotasp.commands.export.set_threads", None)  # what comes next imports it
    monkeypatch.setattr("cotasp.commands.play.set_threads", None)
    for words, told in (
        (["export", "--task", "right", "--out", str(tmp_path / "x.pt")], "expected a file ending"),
        (["play", "--task", "right", "--episodes", "0"], "episodes: expected at least 1, got 0"),
        (["play", "--task", "right", "--size", "1"], "size: expected 64 to 1024 pixels, got 1"),
    ):
        assert main([words[0], str(run), *words[1:]]) == 2
        assert told in capsys.readouterr().err


def test_a_file_is_replaced_by_a_whole_one_or_not_at_all(tmp_path):
    there, link = tmp_path / "there.TXT", tmp_path / "link.TXT"
    there.write_text("old")
    link.symlink_to(there)

    def fail(new):
        new.write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replacing(there) as new:
        fail(new)
    assert there.read_text() == "old"
    with replacing(link) as new:
        assert new.suffix == ".txt"
        new.write_text("new")
    assert link.is_symlink()
    assert there.read_text() == "new"
    assert {file.name for file in tmp_path.iterdir()} == {"there.TXT", "link.TXT"}
