"""Frames written to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cotasp.errors import RecipeError
from cotasp.film.pictures import contact_sheet, side_by_side
from cotasp.targets import check_file, replacing

ENDINGS = (".gif", ".mp4", ".png")
RATE = 20  # frames per second
HOLD = 15  # frames for which the last one of an episode stands
_COLOURS = 128  # of a GIF
_STOPPED = "ffmpeg stopped before the end, perhaps because the disk is full"


def check_target(path: str | Path) -> Path:
    """Raises what `save` would raise because of its path, before anything is done."""
    path = check_file(path, ENDINGS)
    if path.suffix.lower() == ".mp4":
        _ffmpeg(path)
    return path


def save(films: Sequence[Sequence[np.ndarray]], path: str | Path, together: bool = False) -> Path:
    """Writes films: a `.gif` or `.mp4` that moves, or a `.png` with a row of stills for each.

    Args:
        films: of [height, width, 3] uint8; at least one, with at least one frame each.
        path: replaced if it exists.
        together: all at the same time, side by side, instead of one after the other.

    Raises:
        RecipeError: another ending, or ffmpeg is not to be had for an `.mp4`; no films, or one
            without frames.
        RunError: the directory is not there, or the file cannot be written; one that was there
            before stays as it was.
    """
    path = check_target(path)
    if not films or not all(map(len, films)):
        raise RecipeError(
            f"{path}: expected films of at least one frame, got {list(map(len, films))}"
        )
    with replacing(path) as new:
        if new.suffix == ".png":
            _still(contact_sheet(films), new)
        else:
            held = [[*film, *[film[-1]] * HOLD] for film in films]
            frames = side_by_side(held) if together else [f for film in held for f in film]
            (_gif if new.suffix == ".gif" else _mp4)(_one_size(frames), new)
    return path


def _one_size(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Frames with white below and beside them, as large as the largest."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    whole = np.full((len(frames), height, width, 3), 255, np.uint8)
    for one, frame in zip(whole, frames):
        one[: frame.shape[0], : frame.shape[1]] = frame
    return list(whole)


def _still(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path)


def _gif(frames: Sequence[np.ndarray], path: Path) -> None:
    """One palette for all frames, so that what stands still costs next to nothing."""
    from PIL import Image

    sample = np.concatenate([frames[i] for i in np.linspace(0, len(frames) - 1, 8).astype(int)])
    palette = Image.fromarray(sample).quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    first, *rest = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    first.save(path, save_all=True, append_images=rest, duration=1000 // RATE, loop=0)


def _mp4(frames: Sequence[np.ndarray], path: Path) -> None:
    ffmpeg = _ffmpeg(path)
    height, width = (2 * (side // 2) for side in frames[0].shape[:2])  # even, as the codec wants
    size = width, height
    options = {"fps": RATE, "macro_block_size": 2, "quality": 7, "ffmpeg_log_level": "quiet"}
    writer = ffmpeg.write_frames(str(path), size, **options)
    try:
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame[:height, :width]))
    except OSError as error:  # whose message is ffmpeg's command line
        raise OSError(_STOPPED) from error
    finally:
        writer.close()
    if not path.exists() or not path.stat().st_size:  # a short film ends before ffmpeg fails
        raise OSError(_STOPPED)


def _ffmpeg(path: Path) -> Any:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise RecipeError(
            f"{path}: an .mp4 needs ffmpeg; pip install 'cotasp[mp4]', or write a .gif"
        ) from error
    return imageio_ffmpeg
