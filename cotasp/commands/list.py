"""`cotasp list`."""

from __future__ import annotations

import argparse
from typing import Any

from cotasp.commands._common import add_verb
from cotasp.errors import RecipeError


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = add_verb(subparsers, "list", "List the components that recipes can name.")
    parser.add_argument("kind", nargs="?", help="encoder, solver, ...; shows their fields too")


def main(arguments: argparse.Namespace) -> None:
    """Prints the components of all kinds, or of one with their fields."""
    from cotasp.registry import KINDS, suggest
    from cotasp.schema import signature

    if arguments.kind is not None and arguments.kind not in KINDS:
        raise RecipeError(f"unknown kind {arguments.kind!r}. {suggest(arguments.kind, KINDS)}")
    for kind in [arguments.kind] if arguments.kind else KINDS:
        registry = KINDS[kind]
        print(f"{kind}:")
        for name in registry.names():
            print(f"  {name:<14} {registry.describe(name)}")
            if arguments.kind and registry.location(name).startswith("cotasp."):
                for field in signature(registry.get(name)):
                    print(f"  {'':<16} {field}")
