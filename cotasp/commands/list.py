"""`cotasp list`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cotasp.commands._common import add_verb
from cotasp.errors import PluginError

if TYPE_CHECKING:
    from cotasp.registry import Registry


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = add_verb(subparsers, "list", "List the components that recipes can name.")
    parser.add_argument(
        "kind",
        nargs="?",
        help="encoder, solver, ...; shows fields, too (plug-ins are imported)",
    )


def main(arguments: argparse.Namespace) -> None:
    """Prints the components of all kinds, or of one with their fields."""
    from cotasp.registry import KINDS

    for kind in [arguments.kind] if arguments.kind else KINDS:
        registry = KINDS[kind]
        names = registry.names()
        width = max(map(len, names))
        print(f"{kind}:")
        for name in names:
            print(f"  {name:<{width}} {registry.describe(name)}")
            if arguments.kind:
                for field in _fields(registry, name):
                    print(f"  {'':<{width + 2}} {field}")


def _fields(registry: Registry, name: str) -> list[str]:
    """A component's fields as they stand in a recipe, or why they are not known."""
    from cotasp.schema import signature

    try:
        return signature(registry.get(name))
    except PluginError as error:
        return [f"cannot be used: {error}"]
