"""Whether the machine at hand has what a recipe asks for."""

from __future__ import annotations

from importlib.util import find_spec

from cotasp.errors import RecipeError
from cotasp.recipe import Recipe


def check_logger(recipe: Recipe) -> None:
    """Raises RecipeError when the recipe's logger is not installed."""
    if recipe.logger != "csv" and find_spec(recipe.logger) is None:
        raise RecipeError(
            f"recipe.logger: {recipe.logger} is not installed; "
            f"pip install {recipe.logger}, or run with logger=csv"
        )


def check_machine(recipe: Recipe) -> None:
    """Makes sure that the recipe's device and logger are there.

    Raises:
        RecipeError: torch cannot use the device here, or the logger is not installed.
    """
    check_logger(recipe)
    import torch

    try:
        torch.empty(1, device=recipe.device)
    except Exception as error:  # each backend raises its own
        reason = str(error).strip().split("\n")[0].split(". ")[0]
        raise RecipeError(
            f"recipe.device: {recipe.device} cannot be used here ({reason}); "
            f"run with device=cpu, or where there is one"
        ) from error
