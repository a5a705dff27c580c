"""Errors a user can act on.  The command line prints their message and no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CotaspError(Exception):
    """Base of all errors of this library: one line that names the place and the remedy."""


class RecipeError(CotaspError, ValueError):
    """A recipe, or an argument of a component, that cannot be used.  Exit code 2."""


class UnknownNameError(RecipeError, KeyError):
    """A component name that no registry knows."""

    __str__ = Exception.__str__  # KeyError would print the repr


class PluginError(RecipeError):
    """A third-party component that failed to import or broke its protocol."""


class RunError(CotaspError, RuntimeError):
    """Something went wrong while a run was under way.  Exit code 1."""


class RunStopped(CotaspError):
    """A run was asked to stop, and did where it can be continued.

    Args:
        message: where, and how to go on.
        number: of the signal.  Exit code 128 more.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class ConvergenceWarning(UserWarning):
    """A solver stopped before its tolerance; the message says by how much."""


@contextmanager
def component_errors(kind: str, component: object) -> Iterator[None]:
    """Names the component in whatever it raises, as a PluginError; the library's errors pass."""
    try:
        yield
    except (CotaspError, Warning):  # a warning is raised where its filter says "error"
        raise
    except Exception as error:
        cls = type(component)
        raise PluginError(
            f"{kind} {cls.__name__} (of {cls.__module__}) raised {type(error).__name__}: {error}; "
            f"--debug shows where"
        ) from error


def refuse_returned(
    kind: str, component: object, method: str, expected: str, wrong: str | None
) -> None:
    """Raises PluginError for what a component's method returned, if something is wrong with it."""
    if wrong is not None:
        cls = type(component)
        raise PluginError(
            f"{kind} {cls.__name__} (of {cls.__module__}): {method}: expected {expected}, got "
            f"{wrong}"
        )


@contextmanager
def at(place: str, kind: type[CotaspError] = RecipeError) -> Iterator[None]:
    """Puts the place, of a recipe or a run, before the message of such an error raised inside."""
    try:
        yield
    except kind as error:
        raise kind(f"{place}: {error}") from error
