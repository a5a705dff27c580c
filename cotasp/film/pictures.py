"""Captions on frames, and frames side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cotasp.film.episode import Episode

_GREEN, _RED, _GREY = "#2e8b3d", "#b03a2e", "#55555a"
PER_ROW = 5  # stills of an episode on a contact sheet


def captioned(episode: Episode, size: int) -> list[np.ndarray]:
    """An episode's frames under its text, with what came of it; [height, size, 3] uint8 each.

    Args:
        episode: with at least one frame.
        size: width in pixels; frames are scaled to it.
    """
    bar = max(14, size // 14)
    font = ImageFont.load_default(size=bar * 0.62)
    text = _shortened(episode.text, font, size - bar)
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
        draw.rectangle([0, image.height - bar, size, image.height], fill=colour)
        line = image.height - bar / 2
        draw.text((bar / 2, line), episode.task, fill="white", font=font, anchor="lm")
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


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """As much of a text as fits into a line."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
