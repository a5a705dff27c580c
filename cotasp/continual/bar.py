"""A progress bar on standard error, of a run or of a sweep."""

from __future__ import annotations

import sys

from tqdm import tqdm

SELDOM = 30.0  # s between two copies of the bar in a file


def progress_bar(total: int, *, visible: bool, done: int = 0, description: str = "") -> tqdm:
    """The bar; it is drawn by its `update` alone, in a file `SELDOM`.

    Args:
        total: environment steps.
        visible: whether to draw it.
        done: steps before this process, which its rate does not count.
        description: stands in front.
    """
    return tqdm(
        desc=description,
        total=total,
        initial=done,
        disable=not visible,
        unit="step",
        unit_scale=True,
        mininterval=1.0 if sys.stderr.isatty() else SELDOM,
        miniters=0,  # the time alone decides
        dynamic_ncols=True,
    )


def write_above(bar: tqdm, line: str) -> None:
    """Prints a line on standard output, above the bar, which a terminal then draws again."""
    if sys.stderr.isatty():
        bar.write(line)
    else:
        print(line, flush=True)
