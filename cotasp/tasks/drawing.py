"""Environments that can be drawn, and how MuJoCo draws where there is no display."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cotasp.errors import RecipeError, RunError

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
_REMEDY = (
    "install the system's packages libegl1 and libegl-mesa0, or libosmesa6; the toy "
    "(stream: point) can be drawn without"
)


@runtime_checkable
class Drawn(Protocol):
    """An environment, or a simulator, that can be drawn."""

    def begin_drawing(self, size: int) -> None:
        """Prepares for frames; called once, before the first reset.

        Args:
            size: about how many pixels high a frame should be.

        Raises:
            RunError: nothing can be drawn here; the message names what is missing.
        """
        ...

    def frame(self) -> np.ndarray:
        """The state of now as a picture, [height, width, 3] uint8."""
        ...


def check_pictures(episodes: int, size: int) -> None:
    """Raises RecipeError where no episode is asked for, or pictures of a size out of range."""
    if episodes < 1:
        raise RecipeError(f"episodes: expected at least 1, got {episodes}")
    if not 64 <= size <= 1024:
        raise RecipeError(f"size: expected 64 to 1024 pixels, got {size}")


def checked_picture(name: str, picture: Any, method: str = "frame") -> np.ndarray:
    """The picture, [height, width, 3] uint8.

    Args:
        name: of what drew it, for messages.
        picture: what its method returned.
        method: that drew it, for messages.

    Raises:
        RunError: it is none.
    """
    if isinstance(picture, np.ndarray):
        whole = picture.dtype.kind in "iu" and picture.size > 0
        if whole and picture.shape[2:] == (3,) and picture.min() >= 0 and picture.max() <= 255:
            return picture.astype(np.uint8, copy=False)
        got = f"an array of {picture.dtype} of shape {picture.shape}"
    else:
        got = type(picture).__name__
    raise RunError(
        f"{name} cannot be drawn: expected a picture, an array of uint8 from 0 to 255 of shape "
        f"(height, width, 3), got {got}; let its method {method} return one"
    )


def has_display() -> bool:
    """Whether windows can be opened."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def choose_gl() -> str | None:
    """What MuJoCo draws by: `MUJOCO_GL`, which is set here unless the user has; None: nothing."""
    chosen = os.environ.get("MUJOCO_GL")
    if not chosen:
        backends = [name for name, library in _LIBRARIES.items() if find_library(library)]
        chosen = "glfw" if has_display() else next(iter(backends), None)
        if chosen is not None:
            os.environ["MUJOCO_GL"] = chosen
    return chosen


def check_mujoco() -> None:
    """Makes sure that MuJoCo can be imported, which loads what `MUJOCO_GL` names.

    Raises:
        RunError: not with this `MUJOCO_GL`.
    """
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # PyOpenGL and ctypes raise their own
        backend = os.environ.get("MUJOCO_GL")
        if not backend:
            raise
        raise RunError(
            f"MuJoCo cannot be imported with MUJOCO_GL={backend} ({type(error).__name__}: "
            f"{error}); unset MUJOCO_GL, or set it to disable, egl or osmesa"
        ) from error


def check_drawing(width: int = 64, height: int = 64) -> str:
    """What MuJoCo draws by, tried out: `glfw`, `egl` or `osmesa`.

    Raises:
        RunError: nothing can be drawn here.
    """
    backend = choose_gl()
    if backend is None:
        raise RunError(
            f"MuJoCo cannot draw: there is no display, and neither EGL nor OSMesa; {_REMEDY}"
        )
    try:
        import_module(f"mujoco.{backend}").GLContext(width, height).free()
    except Exception as error:  # PyOpenGL, ctypes and the drivers raise their own
        raise _cannot_draw(backend, error) from error
    return backend


def mujoco_viewer(model: Any, data: Any, width: int, height: int) -> Any:
    """Gymnasium's off-screen viewer of a MuJoCo simulation, without shadows.

    Shadows and reflections take three quarters of the time where the processor draws.

    Raises:
        RunError: nothing can be drawn here.
    """
    # tried alone: the viewer complains a second time when it goes away half made
    backend = check_drawing(width, height)
    try:
        import mujoco
        from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

        viewer = OffScreenViewer(model, data, width, height)
    except Exception as error:
        raise _cannot_draw(backend, error) from error
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        viewer.scn.flags[flag] = 0
    return viewer


def _cannot_draw(backend: str, error: Exception) -> RunError:
    others = [name for name in _LIBRARIES if name != backend]
    return RunError(
        f"MuJoCo cannot draw by MUJOCO_GL={backend} ({type(error).__name__}: {error}); "
        f"set MUJOCO_GL to {' or '.join(others)}, or {_REMEDY}"
    )
