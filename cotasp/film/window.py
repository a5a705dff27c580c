"""A window that shows frames."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from cotasp.errors import RunError
from cotasp.film.files import HOLD, RATE


def show(films: Sequence[Sequence[np.ndarray]], title: str) -> None:
    """Shows films in a window, again and again, until it is closed or Escape is pressed.

    Raises:
        RunError: no window can be opened.
    """
    try:
        import tkinter

        root = tkinter.Tk()
    except (ImportError, RuntimeError) as error:
        raise RunError(
            f"no window can be opened ({error}); install python3-tk, or name a file: --out FILE.gif"
        ) from error
    except tkinter.TclError as error:
        raise RunError(f"no window can be opened ({error}); name a file: --out FILE.gif") from error
    from PIL import Image, ImageTk

    open_, frames = [True], [f for film in films for f in [*film, *[film[-1]] * HOLD]]
    root.title(title)
    root.protocol("WM_DELETE_WINDOW", open_.clear)
    root.bind("<Escape>", lambda event: open_.clear())
    label = tkinter.Label(root, borderwidth=0)
    label.pack()
    place = 0
    while open_:
        due = time.monotonic() + 1 / RATE
        photo = ImageTk.PhotoImage(Image.fromarray(frames[place % len(frames)]))
        label.configure(image=photo)
        root.update()
        place += 1
        time.sleep(max(0.0, due - time.monotonic()))
    root.destroy()
