"""Captions on frames, and frames side by side."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import zip_longest

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cotasp.film.episode import Episode

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_FONTS = ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "PingFang.ttc", "msyh.ttc")
_GREEN, _RED, _GREY = "#2e8b3d", "#b03a2e", "#55555a"
PER_ROW = 5  # stills of an episode on a contact sheet


def captioned(episode: Episode, size: int) -> list[np.ndarray]:
    """An episode's frames under its text, with what came of it; [height, size, 3] uint8 each.

    Args:
        episode: with at least one frame.
        size: width in pixels; frames are scaled to it.

    Warns:
        UserWarning: letters that no font at hand has are left out, as perhaps those of Chinese.
    """
    bar = max(14, size // 14)
    text, font = _with_letters(episode.text, bar * 0.62)
    text = _shortened(text, font, size - bar)
    task, task_font = _with_letters(episode.task, bar * 0.62)
    last = len(episode.frames) - 1
    pictures = []
    for place, (frame, solved) in enumerate(zip(episode.frames, episode.solved)):
        frame_image = _scaled(frame, size)
        image = Image.new("RGB", (size, frame_image.height + 2 * bar), "white")
        image.paste(frame_image, (0, bar))
        draw = ImageDraw.Draw(image)
        draw.text((bar / 2, bar / 2), text, fill="black", font=font, anchor="lm")
        status, colour = ("success", _GREEN) if solved else (f"{place / max(1, last):.0%}", _GREY)
        if place == last:
            status, colour = ("success", _GREEN) if episode.success else ("no success", _RED)
            if not isinstance(episode.success, bool):  # judged by its return
                status, colour = f"success {episode.success:.2f}", _GREY
        draw.rectangle([0, image.height - bar, size, image.height], fill=colour)
        line = image.height - bar / 2
        draw.text((bar / 2, line), task, fill="white", font=task_font, anchor="lm")
        draw.text((size - bar / 2, line), status, fill="white", font=font, anchor="rm")
        pictures.append(np.asarray(image))
    return pictures


def side_by_side(films: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Films at the same time, in rows; each stays at its last frame until all have ended.

    Args:
        films: of frames of one width; at least one.
    """
    columns = len(films) if len(films) <= 3 else math.ceil(math.sqrt(len(films)))
    held = [list(film) for film in films]
    pictures = []
    for together in zip_longest(*held):
        cells = [held[i][-1] if cell is None else cell for i, cell in enumerate(together)]
        rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
        pictures.append(_grid(rows))
    return pictures


def contact_sheet(films: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """A row of stills for each film, from its beginning to its end; [height, width, 3] uint8."""
    places = [np.linspace(0, len(film) - 1, PER_ROW).round().astype(int) for film in films]
    return _grid([[film[i] for i in chosen] for film, chosen in zip(films, places)])


def _grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    width = max(sum(cell.shape[1] for cell in row) for row in rows)
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    sheet = np.full((sum(heights), width, 3), 255, np.uint8)
    top = 0
    for row, height in zip(rows, heights):
        left = 0
        for cell in row:
            sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
            left += cell.shape[1]
        top += height
    return sheet


def _scaled(frame: np.ndarray, width: int) -> Image.Image:
    image = Image.fromarray(frame)
    if image.width == width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))))


def _with_letters(text: str, size: float) -> tuple[str, Font]:
    """A text, and a font to draw it in; letters that no font at hand has are left out."""
    fonts = _fonts(size)
    font = min(fonts, key=lambda font: len(_unknown(text, font)))
    unknown = _unknown(text, font)
    if unknown:
        warnings.warn(
            f"caption {text!r:.80}: no font at hand has {' '.join(sorted(unknown))[:60]}; left out",
            stacklevel=3,
        )
    return "".join(each for each in text if each not in unknown), font


def _fonts(size: float) -> list[Font]:
    """Pillow's own font, and those of the machine that have more letters."""
    fonts: list[Font] = [ImageFont.load_default(size=size)]
    matplotlib = find_spec("matplotlib")
    places = [] if matplotlib is None else matplotlib.submodule_search_locations or []
    for file in (*(f"{place}/mpl-data/fonts/ttf/DejaVuSans.ttf" for place in places), *_FONTS):
        with suppress(OSError):  # it is not there
            fonts.append(ImageFont.truetype(file, size))
    return fonts


def _unknown(text: str, font: Font) -> set[str]:
    """Letters that a font draws as a box, or not at all."""
    boxes = {_picture(letter, font) for letter in "\ue000\uffff"}  # which no font has
    return {each for each in text if not each.isspace() and _picture(each, font) in boxes}


def _picture(letter: str, font: Font) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _shortened(text: str, font: Font, width: float) -> str:
    """As much of a text as fits into a line."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
