"""Captions of films."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cotasp.errors import RecipeError
from cotasp.film import pictures
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
