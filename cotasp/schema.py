"""Plain data to typed objects and back, by constructor signature.

A recipe node is built for an annotation: a component protocol picks the registry, a dataclass
is built from a mapping of its fields, numbers and names are checked.  The constructor is the
only schema; this module knows no component by name.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import numbers
import re
import types
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from cotasp.errors import PluginError, RecipeError
from cotasp.ranges import Range, range_of
from cotasp.registry import Registry, nearest, registry_for, suggest

MISSING = inspect.Parameter.empty
_SCALARS = {str: "text", bool: "true or false", int: "an integer", float: "a finite number"}
_NONE = type(None)


class Unfit(RecipeError):
    """A node of the wrong shape for its annotation; another member of a union may fit."""

    def __init__(self, path: str, annotation: Any, node: Any) -> None:
        remedy = _remedy(annotation, node)
        super().__init__(f"{path}: expected {expected(annotation)}, got {_as_text(node)}{remedy}")
        self.path = path


def _as_text(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        text = "an integer of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def expected(annotation: Any) -> str:
    """What a field takes, in words.

    >>> expected(float | None)
    'a finite number or null'
    >>> expected(tuple[int, ...])
    'a list, each an integer'
    """
    registry = registry_for(annotation)
    if registry is not None:
        return f"the {registry.kind}'s name or a mapping with `name`"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(expected, arguments))
    if origin in (tuple, list):
        fixed = origin is tuple and Ellipsis not in arguments
        return f"a list of {len(arguments)}" if fixed else f"a list, each {expected(arguments[0])}"
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return f"a mapping of {', '.join(fields_of(annotation))}"
    return "null" if annotation is _NONE else _SCALARS.get(annotation, "a value")


def _remedy(annotation: Any, node: Any) -> str:
    scalar = isinstance(node, (str, bool, int, float))
    if get_origin(annotation) is Literal:
        close = nearest(str(node), map(str, get_args(annotation)))
        return f". Did you mean {close!r}?" if close and scalar else ""
    if annotation is str and scalar:
        return "; write it in quotes"
    if annotation is int and isinstance(node, int) and not isinstance(node, bool):
        return "; it must fit in 64 bits"
    if get_origin(annotation) in (tuple, list) and scalar:
        return "; write it as [...]"
    return ""


def _hints(cls: type, include_extras: bool = False) -> dict[str, Any]:
    """Types of a class's and its bases' annotations, without a bare `ClassVar`, which Python 3.10
    does not evaluate.
    """
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        written = vars(base).get("__annotations__", {})
        own_hints = {k: v for k, v in written.items() if v not in (ClassVar, "ClassVar")}
        holder = type(
            base.__name__, (), {"__annotations__": own_hints, "__module__": base.__module__}
        )
        hints |= get_type_hints(holder, include_extras=include_extras)
    return hints


@cache
def fields_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """Constructor argument to (annotation, default); default is `MISSING` where there is none."""
    parameters = [
        p
        for p in inspect.signature(cls).parameters.values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    # a dataclass's constructor repeats its bases' annotations, whose names its module may lack
    of_init = {} if dataclasses.is_dataclass(cls) else get_type_hints(cls.__init__)  # type: ignore[misc]
    hints = {**of_init, **_hints(cls)}
    defaults = {
        f.name: f.default_factory()
        for f in (dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ())
        if f.default_factory is not dataclasses.MISSING
    }
    return {p.name: (hints.get(p.name, Any), defaults.get(p.name, p.default)) for p in parameters}


@cache
def ranges_of(cls: type) -> dict[str, Range]:
    """Constructor argument to the numbers it takes, where its annotation says so."""
    extras = {} if dataclasses.is_dataclass(cls) else get_type_hints(cls.__init__, None, None, True)  # type: ignore[misc]
    hints = {**extras, **_hints(cls, include_extras=True)}
    told = ((name, range_of(hints.get(name))) for name in fields_of(cls))
    return {name: within for name, within in told if within is not None}


def check_range(within: Range, value: Any, place: str) -> None:
    """Raises RecipeError for a number outside a range."""
    if not within.takes(value):
        raise RecipeError(f"{place}: expected {within}, got {_as_text(value)}")


def check_ranges(cls: type, values: Mapping[str, Any], place: str) -> None:
    """Raises RecipeError for a number outside its field's range; None is none.

    Args:
        cls: whose fields they are.
        values: by field's name.
        place: of the object, for the message.
    """
    for name, within in ranges_of(cls).items():
        if (value := values.get(name)) is not None:
            check_range(within, value, f"{place}.{name}")


def signature(cls: type) -> list[str]:
    """A class's fields as they stand in a recipe, one line each: default, and what it takes.

    >>> from cotasp.modules.masks import Step
    >>> signature(Step)
    ['gradient: clipped  # clipped or identity']
    """
    lines = []
    for name, (annotation, default) in fields_of(cls).items():
        preset = "" if default is MISSING else plain(default, annotation)
        text = preset if isinstance(preset, str) else json.dumps(preset)
        within = f", {ranges_of(cls)[name]}" if name in ranges_of(cls) else ""
        needed = " (required)" if default is MISSING else ""
        lines.append(f"{name}: {text}  # {expected(annotation)}{within}{needed}")
    return lines


def build(annotation: Any, node: Any, path: str, default: Any = MISSING) -> Any:
    """The object that a recipe node describes.

    Args:
        annotation: what the field is declared as.
        node: strings, numbers, lists and mappings, as YAML gives them.
        path: where the node stands, for messages.
        default: the field's default, which a mapping (of a component: one without `name`) edits.

    Raises:
        RecipeError: the node does not fit; the message names the path and the remedy.
    """
    registry = registry_for(annotation)
    if registry is not None:
        return _build_component(registry, annotation, node, path, default)
    origin = get_origin(annotation)
    if annotation is Any:
        return node
    if origin is Literal:
        for choice in get_args(annotation):
            if type(choice) is type(node) and choice == node:
                return choice
    elif origin in (Union, types.UnionType):
        return _build_union(annotation, node, path, default)
    elif origin in (tuple, list):
        return _build_sequence(annotation, node, path)
    elif annotation is str or annotation is bool:
        if isinstance(node, annotation):
            return node
    elif annotation is int or annotation is float:
        number = _number(annotation, node)
        if number is not None:
            return number
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if isinstance(node, Mapping):
            return _build_fields(annotation, node, path, default)
    else:
        raise RecipeError(f"{path}: a field annotated {annotation} cannot stand in a recipe")
    raise Unfit(path, annotation, node)


def _number(kind: type, node: Any) -> Any:
    """The node as a finite float, or as an int of 64 bits; None where it is neither."""
    if isinstance(node, bool) or not isinstance(node, (int, float, str)):
        return None
    try:
        number = float(node)  # YAML reads 1e-3 as text
        if not math.isfinite(number) or kind is float:
            return number if math.isfinite(number) else None
        # only a node that is no integer as it stands may go through float, which rounds
        exact = re.fullmatch(r"\s*[-+]?\d+\s*", str(node)) is not None
        integer = int(node) if exact else int(number)
    except (ValueError, OverflowError):
        return None
    return integer if abs(integer) < 2**63 and (exact or number == integer) else None


def _build_union(annotation: Any, node: Any, path: str, default: Any) -> Any:
    if node is None and _NONE in get_args(annotation):
        return None
    for option in get_args(annotation):
        try:
            if option is not _NONE:
                return build(option, node, path, default)
        except Unfit as error:
            if error.path != path:  # the shape was right, something within was not
                raise
    raise Unfit(path, annotation, node)


def _build_sequence(annotation: Any, node: Any, path: str) -> Any:
    if not isinstance(node, (list, tuple)):
        raise Unfit(path, annotation, node)
    items = get_args(annotation)
    if get_origin(annotation) is list or (len(items) == 2 and items[1] is Ellipsis):
        items = (items[0],) * len(node)
    if len(items) != len(node):
        raise Unfit(path, annotation, node)
    built = [build(a, n, f"{path}[{i}]") for i, (a, n) in enumerate(zip(items, node))]
    return built if get_origin(annotation) is list else tuple(built)


def _build_component(
    registry: Registry, annotation: Any, node: Any, path: str, default: Any
) -> Any:
    if isinstance(node, str):
        node = {"name": node}
    if not isinstance(node, Mapping):
        raise Unfit(path, annotation, node)
    if "name" not in node and default is not MISSING and default is not None:
        return _build_fields(type(default), node, path, default)
    names = ", ".join(registry.names())
    if "name" not in node:
        raise RecipeError(f"{path}: missing key 'name'. Known: {names}.")
    if not isinstance(node["name"], str):
        raise RecipeError(f"{path}.name: expected one of {names}, got {_as_text(node['name'])}")
    try:
        cls = registry.get(node["name"])
    except RecipeError as error:
        raise type(error)(f"{path}: {error}") from error
    built = _build_fields(cls, {k: v for k, v in node.items() if k != "name"}, path)
    try:
        registry.check_attributes(built)
    except PluginError as error:
        raise PluginError(f"{path}: {error}") from error
    return built


def _build_fields(cls: type, node: Mapping, path: str, default: Any = MISSING) -> Any:
    """An instance of `cls`; what the node leaves out is as in `default`, if that is one too."""
    try:
        fields = fields_of(cls)
    except Exception as error:  # an annotation that cannot be resolved, of a third party's class
        raise PluginError(
            f"{path}: the signature of {cls.__name__} cannot be read: {error}; its annotations "
            f"must be importable when it runs"
        ) from error
    for key in node:
        if key not in fields:
            raise RecipeError(f"{path}: unknown key {key!r}. {_meant(str(key), fields)}")
    defaults = {k: getattr(default, k) for k in fields} if isinstance(default, cls) else {}
    for key, (annotation, preset) in fields.items():
        if key not in node and key not in defaults and preset is MISSING:
            raise RecipeError(
                f"{path}: missing key {key!r} ({expected(annotation)}); it has no default"
            )
    values = {
        k: build(fields[k][0], v, f"{path}.{k}", defaults.get(k, fields[k][1]))
        for k, v in node.items()
    }
    check_ranges(cls, values, path)
    try:
        return cls(**{**defaults, **values})
    except (ValueError, TypeError) as error:  # RecipeError is a ValueError
        message = str(error).removeprefix(f"{cls.__name__}.")
        joint = "." if re.split(r"[.:\[]", message, maxsplit=1)[0] in fields else ": "
        raise RecipeError(f"{path}{joint}{message}") from error


def _meant(key: str, fields: Mapping[str, tuple[Any, Any]]) -> str:
    """The sentence after an unknown key: a field near it, here or further in, or all of here."""
    ends = {path: path.rpartition(".")[2] for path in _paths(fields)}
    if key not in ends.values() and nearest(key, fields):
        return suggest(key, fields)
    close = nearest(key, ends.values())
    meant = " or ".join(repr(path) for path, end in ends.items() if end == close)
    return f"Did you mean {meant}?" if meant else suggest(key, fields)


def _paths(fields: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """Dotted names of the fields, and of those of their defaults."""
    for name, (_, default) in fields.items():
        yield name
        if dataclasses.is_dataclass(default):
            cls: type = type(default)
            yield from (f"{name}.{path}" for path in _paths(fields_of(cls)))


def plain(value: Any, annotation: Any = Any) -> Any:
    """The inverse of `build`: strings, numbers, lists and mappings, every default written out.

    Components become mappings that begin with `name`.
    """
    registry = registry_for(annotation)
    if registry is not None and value is not None:
        return {"name": registry.name_of(value), **_plain_fields(value)}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):  # of numpy, too
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if get_origin(annotation) in (Union, types.UnionType) and isinstance(value, (tuple, list)):
        lists = (a for a in get_args(annotation) if get_origin(a) in (tuple, list))
        annotation = next(lists, annotation)
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
    cls: type = type(value)
    fields = fields_of(cls)
    unreadable = [k for k in fields if not hasattr(value, k)]
    if unreadable:
        raise PluginError(
            f"{type(value).__name__} cannot be written as a recipe: it keeps no attribute "
            f"{unreadable[0]!r}; store every constructor argument under its own name"
        )
    return {k: plain(getattr(value, k), a) for k, (a, _) in fields.items()}
