"""In what recipes differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cotasp.recipe import INCIDENTAL
from cotasp.words import as_text, between_commas


def differences(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Where recipes differ: path to each one's value, as it would be written in an override.

    Where components have different names, their names say it all and fields are left out.

    Args:
        recipes: nodes with every default written out.

    Returns:
        e.g. `{"dictionary.update": ["online", "anchored"]}`.
    """
    settings = [{k: v for k, v in recipe.items() if k not in INCIDENTAL} for recipe in recipes]
    return _compare("", settings)


def _compare(path: str, nodes: list[Any]) -> dict[str, list[str]]:
    if all(node == nodes[0] for node in nodes):
        return {}
    if not all(isinstance(node, Mapping) for node in nodes):
        return {path: [as_text(node) for node in nodes]}
    names = [node.get("name") for node in nodes]
    if len(set(map(str, names))) > 1:
        return {path: _named(nodes, names)}
    by_path: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for node in nodes for key in node):
        below = f"{path}.{key}" if path else str(key)
        by_path |= _compare(below, [node.get(key) for node in nodes])
    return by_path


def _named(nodes: list[Any], names: list[Any]) -> list[str]:
    """The names; with fields where two of one name differ."""
    written = []
    for node, name in zip(nodes, names):
        same = [other for other, its in zip(nodes, names) if its == name]
        fields = _compare("", same)
        index = next(i for i, other in enumerate(same) if other is node)
        inner = ", ".join(f"{key}: {values[index]}" for key, values in fields.items())
        written.append(f"{name} {{{inner}}}" if inner else str(name))
    return written


def variant_names(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each recipe, made of what tells it from the others."""
    by_path = differences(recipes)
    if not by_path:
        return ["all runs"] * len(recipes)
    last = {path: path.rpartition(".")[2] for path in by_path}
    unique = {
        path: word if list(last.values()).count(word) == 1 else path for path, word in last.items()
    }
    return [
        ", ".join(f"{unique[path]}={values[i]}" for path, values in by_path.items())
        for i in range(len(recipes))
    ]


def without_shared(names: Sequence[str]) -> list[str]:
    """Names without the parts between commas that all of them have.

    >>> without_shared(["topk,agent=td3,k=3", "topk,agent=td3,k=9"])
    ['k=3', 'k=9']
    >>> without_shared(["hidden=[8,8],k=3", "hidden=[8,8]"])
    ['hidden=[8,8],k=3', 'hidden=[8,8]']

    Args:
        names: all different.

    Returns:
        as many, all different; the names as they are where nothing would be left of one.
    """
    parts = [between_commas(name) for name in names]
    shared = set(parts[0]).intersection(*parts[1:]) if len(parts) > 1 else set()
    remainders = [[part for part in own if part not in shared] for own in parts]
    if not shared or not all(remainders):
        return list(names)
    short_names = [", ".join(own) for own in remainders]
    return short_names if len(set(short_names)) == len(short_names) else list(names)
