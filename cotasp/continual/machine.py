"""Whether the machine at hand has what a recipe asks for."""

from __future__ import annotations

import netrc
import os
from importlib.util import find_spec

from cotasp.errors import RecipeError
from cotasp.recipe import Recipe


def check_logger(recipe: Recipe) -> None:
    """Raises RecipeError when the recipe's logger is not installed, or may not be written to."""
    if recipe.logger != "csv" and find_spec(recipe.logger) is None:
        raise RecipeError(
            f"recipe.logger: {recipe.logger} is not installed; "
            f"pip install {recipe.logger}, or run with logger=csv"
        )
    if recipe.logger == "wandb" and not _may_use_wandb():
        raise RecipeError(
            "recipe.logger: wandb knows no key; run `wandb login`, set WANDB_API_KEY, or set "
            "WANDB_MODE=offline to keep the curves here"
        )


def _may_use_wandb() -> bool:
    """Whether W&B is told to stay offline, or has a key in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return True
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").partition("://")[2]
    try:
        return netrc.netrc().authenticators(host.partition("/")[0]) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def check_machine(recipe: Recipe) -> None:
    """Makes sure that the recipe's device and logger are there.

    Raises:
        RecipeError: torch cannot use the device here, or is set to other numbers than float32; or
            the logger is not installed.
    """
    check_logger(recipe)
    import torch

    if torch.get_default_dtype() != torch.float32:
        raise RecipeError(
            f"torch's default dtype: expected torch.float32, got {torch.get_default_dtype()}, with "
            f"which results are others; call torch.set_default_dtype(torch.float32) first"
        )
    if torch.get_default_device().type != "cpu":
        raise RecipeError(
            f"torch's default device: expected cpu, got {torch.get_default_device()}; call "
            f"torch.set_default_device('cpu') and name the device in recipe.device"
        )
    try:
        torch.empty(1, device=recipe.device)
    except Exception as error:  # each backend raises its own
        reason = str(error).strip().split("\n")[0].split(". ")[0]
        raise RecipeError(
            f"recipe.device: {recipe.device} cannot be used here ({reason}); "
            f"run with device=cpu, or where there is one"
        ) from error
