"""Captions of films."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cotasp.errors import RecipeError, RunError
from cotasp.film import files, pictures
from cotasp.film.episode import Episode
from cotasp.film.files import save


def caption(text: str) -> np.ndarray:
    frames = (np.zeros((40, 300, 3), np.uint8),) * 2
    episode = Episode("push", text, True, 1.0, 1, frames, (False, True))
    return pictures.captioned(episode, 300)[0]


def test_letters_that_no_font_has_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(pictures, "_FONTS", ())
    with pytest.warns(UserWarning, match=r"'Push \u63a8 it': no font .* has \u63a8; left out"):
        drawn = caption("Push \u63a8 it")
    assert np.array_equal(drawn, caption("Push it"))
    with pytest.warns(UserWarning, match="no font at hand has"):
        assert np.array_equal(caption("\u63a8\u52a8"), caption(""))


def test_a_font_that_has_the_letters_is_taken_where_there_is_one():
    pytest.importorskip("matplotlib")
    assert not np.array_equal(caption("Gr\u00f6\u00dfe"), caption("Gre"))  # warnings are errors


@pytest.mark.parametrize("films", [[], [[]]])
def test_nothing_is_no_film(films, tmp_path):
    with pytest.raises(RecipeError, match=r"film.gif: expected films of at least one frame, got"):
        save(films, tmp_path / "film.gif")


def test_plain_text_is_drawn_in_pillow_s_own_font():
    text, font = pictures._with_letters("Push and close a window.", 12)
    assert text == "Push and close a window."
    assert font.getname() == pictures._fonts(12)[0].getname()


def test_films_of_different_heights_lose_nothing_one_after_the_other(tmp_path):
    low, high = (np.zeros((side, 60, 3), np.uint8) for side in (40, 80))
    save([[low], [high]], tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (60, 80)
        assert film.convert("RGB").getpixel((30, 70)) == (255, 255, 255)  # below the lower one


FILM = [np.full((40, 60, 3), shade, np.uint8) for shade in (0, 120, 240)]


@pytest.mark.parametrize("ending", ["GIF", "MP4", "PNG"])
def test_endings_may_be_in_capitals(tmp_path, ending):
    start = save([FILM], tmp_path / f"film.{ending}").read_bytes()[:12]
    assert {"GIF": b"GIF8", "MP4": b"ftyp", "PNG": b"PNG"}[ending] in start
    assert [file.name for file in tmp_path.iterdir()] == [f"film.{ending}"]


@pytest.mark.parametrize("ending", ["gif", "mp4", "png"])
def test_a_film_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch, ending):
    def full(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / f"film.{ending}"
    before = save([FILM], path).read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=rf"film.{ending}: cannot be written: No space left on dev"):
        save([FILM[:1]], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("broken", ["while it is written to", "at its end"])
def test_ffmpeg_that_fails_is_told_without_its_command_line(tmp_path, monkeypatch, broken, capfd):
    closed = []

    def write_frames(path, size, **options):
        try:
            yield
            if broken == "while it is written to":
                raise OSError(f"broken pipe FFMPEG COMMAND: ffmpeg -i - {path}")
            while True:
                yield
        finally:
            closed.append(path)

    monkeypatch.setattr(files, "_ffmpeg", lambda path: SimpleNamespace(write_frames=write_frames))
    path = tmp_path / "film.mp4"
    with pytest.raises(RunError) as told:
        save([FILM], path)
    assert str(told.value) == (
        f"{path}: cannot be written: ffmpeg stopped before the end, perhaps because the disk is "
        f"full; mend that, or name another file by --out"
    )
    assert len(closed) == 1
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
