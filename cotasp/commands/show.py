"""`cotasp show`."""

from __future__ import annotations

import argparse
from typing import Any

from cotasp.commands._common import add_recipe_arguments, add_verb, read_recipe


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Print a recipe with every default, without running it."
    add_recipe_arguments(add_verb(subparsers, "show", help))


def main(arguments: argparse.Namespace) -> None:
    """Prints the recipe."""
    from cotasp.recipe import dump

    print(dump(read_recipe(arguments)), end="")
