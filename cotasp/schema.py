"""Plain data to typed objects and back, by constructor signature.

A recipe node is built for an annotation: a component protocol picks the registry, a dataclass
is built from a mapping of its fields, numbers and names are checked.  The constructor is the
only schema; this module knows no component by name.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cotasp.errors import RecipeError
from cotasp.registry import Registry, registry_for, suggest

MISSING = inspect.Parameter.empty


@cache
def fields_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """Constructor argument to (annotation, default); default is `MISSING` where there is none."""
    parameters = [
        p
        for p in inspect.signature(cls).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    hints = {**get_type_hints(cls.__init__), **get_type_hints(cls)}
    made = {
        f.name: f.default_factory()
        for f in (dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ())
        if f.default_factory is not dataclasses.MISSING
    }
    return {p.name: (hints.get(p.name, Any), made.get(p.name, p.default)) for p in parameters}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong(path: str, expected: str, value: Any) -> RecipeError:
    return RecipeError(f"{path}: expected {expected}, got {_shown(value)}")


def build(annotation: Any, node: Any, path: str, default: Any = MISSING) -> Any:
    """The object that a recipe node describes.

    Args:
        annotation: what the field is declared as.
        node: strings, numbers, lists and mappings, as YAML gives them.
        path: where the node stands, for messages.
        default: the field's default, which a mapping without `name` edits.

    Raises:
        RecipeError: the node does not fit; the message names the path and the remedy.
    """
    registry = registry_for(annotation)
    if registry is not None:
        if isinstance(node, Mapping) and "name" not in node and default is not MISSING:
            node = {**plain(default, annotation), **node}
        return _build_component(registry, node, path)
    origin = get_origin(annotation)
    if annotation is Any:
        return node
    if origin is Literal:
        choices = get_args(annotation)
        if node not in choices or isinstance(node, bool) != isinstance(choices[0], bool):
            hint = suggest(str(node), map(str, choices))
            raise RecipeError(
                f"{path}: expected one of {list(choices)}, got {_shown(node)}. {hint}"
            )
        return node
    if origin in (Union, types.UnionType):
        return _build_union(get_args(annotation), node, path)
    if origin in (tuple, list):
        return _build_sequence(annotation, node, path)
    if annotation in (bool, int, float, str):
        return _build_scalar(annotation, node, path)
    if isinstance(annotation, type):
        return _build_fields(annotation, node, path)
    raise RecipeError(f"{path}: a field annotated {annotation} cannot stand in a recipe")


def _build_scalar(kind: type, node: Any, path: str) -> Any:
    if kind is str:
        if isinstance(node, str):
            return node
        raise _wrong(path, "text", node)
    if kind is bool:
        if isinstance(node, bool):
            return node
        raise _wrong(path, "true or false", node)
    if isinstance(node, bool) or not isinstance(node, (int, float, str)):
        raise _wrong(path, "an integer" if kind is int else "a number", node)
    try:
        number = float(node)  # YAML reads 1e-3 as text
    except (ValueError, OverflowError):
        raise _wrong(path, "an integer" if kind is int else "a number", node) from None
    if not math.isfinite(number):
        raise _wrong(path, "a finite number", node)
    if kind is float:
        return number
    if not number.is_integer():
        raise _wrong(path, "an integer", node)
    return node if isinstance(node, int) else int(number)


def _build_union(options: tuple, node: Any, path: str) -> Any:
    if node is None:
        if type(None) in options:
            return None
        raise _wrong(path, "a value", node)
    rest = [option for option in options if option is not type(None)]
    for option in rest[:-1]:
        try:
            return build(option, node, path)
        except RecipeError:
            continue
    return build(rest[-1], node, path)


def _build_sequence(annotation: Any, node: Any, path: str) -> Any:
    if not isinstance(node, (list, tuple)):
        raise _wrong(path, "a list", node)
    items = get_args(annotation) or (Any, ...)
    if get_origin(annotation) is list or (len(items) == 2 and items[1] is Ellipsis):
        items = (items[0],) * len(node)
    if len(items) != len(node):
        raise _wrong(path, f"a list of {len(items)}", node)
    built = [build(a, n, f"{path}[{i}]") for i, (a, n) in enumerate(zip(items, node))]
    return built if get_origin(annotation) is list else tuple(built)


def _build_component(registry: Registry, node: Any, path: str) -> Any:
    if isinstance(node, str):
        node = {"name": node}
    if not isinstance(node, Mapping):
        raise _wrong(path, f"the name of a {registry.kind} or a mapping with `name`", node)
    if not isinstance(node.get("name"), str):
        raise RecipeError(
            f"{path}: expected `name`, a {registry.kind}. Known: {', '.join(registry.names())}."
        )
    try:
        cls = registry.get(node["name"])
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    return _build_fields(cls, {k: v for k, v in node.items() if k != "name"}, path)


def _build_fields(cls: type, node: Any, path: str) -> Any:
    if not isinstance(node, Mapping):
        raise _wrong(path, "a mapping", node)
    fields = fields_of(cls)
    for key in node:
        if key not in fields:
            raise RecipeError(f"{path}: unknown key {key!r}. {suggest(str(key), fields)}")
    for key, (_, default) in fields.items():
        if default is MISSING and key not in node:
            raise RecipeError(f"{path}: missing key {key!r}")
    values = {k: build(fields[k][0], v, f"{path}.{k}", fields[k][1]) for k, v in node.items()}
    try:
        return cls(**values)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def plain(value: Any, annotation: Any = Any) -> Any:
    """The inverse of `build`: strings, numbers, lists and mappings, every default written out.

    Components become mappings that begin with `name`.
    """
    registry = registry_for(annotation)
    if registry is not None:
        return {"name": registry.name_of(value), **_plain_fields(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        items = get_args(annotation) or (Any,)
        fixed = len(items) == len(value) and Ellipsis not in items
        return [plain(v, items[i] if fixed else items[0]) for i, v in enumerate(value)]
    if get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            if registry_for(option) is not None:
                return plain(value, option)
    return _plain_fields(value)


def _plain_fields(value: Any) -> dict[str, Any]:
    return {k: plain(getattr(value, k), a) for k, (a, _) in fields_of(type(value)).items()}
