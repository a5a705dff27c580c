"""The part of YAML that recipes use: names, numbers, lists and mappings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from cotasp.errors import RecipeError

LONGEST = 100_000  # characters; PyYAML needs a second for so many
DEEPEST = 100  # lists and mappings within each other; each costs PyYAML more than the one before
_DECIMAL = {  # YAML 1.1 has octal, binary, hexadecimal and sexagesimal numbers, too
    "int": re.compile(r"[-+]?[0-9][0-9_]*"),
    "float": re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
}


def _resolvers(known: Mapping[str, list]) -> dict[str, list]:
    """Which plain scalars are null, true or false, and numbers, which are decimal here."""
    patterns: dict[str, list] = {}
    for first, resolvers in known.items():
        for tag, pattern in resolvers:
            name = tag.rpartition(":")[2]
            if name in ("null", "bool", "int", "float"):
                whole = (
                    re.compile(f"(?:{_DECIMAL[name].pattern})$") if name in _DECIMAL else pattern
                )
                patterns.setdefault(first, []).append((tag, whole))
    return patterns


class _Loader(yaml.SafeLoader):
    """`SafeLoader` for names, numbers, lists and mappings, and no more of YAML.

    Tags, anchors, aliases and duplicate keys are refused; keys and dates are text; numbers are
    decimal, as they are on the command line.
    """

    yaml_implicit_resolvers = _resolvers(yaml.SafeLoader.yaml_implicit_resolvers)
    _depth = 0

    def construct_integer(self, node: Any) -> int:
        return int(self.construct_scalar(node).replace("_", ""))

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        for attribute, what in (("anchor", "anchors and aliases (&, *)"), ("tag", "tags (!)")):
            if getattr(event, attribute, None):
                raise RecipeError(
                    f"line {event.start_mark.line + 1}: {what} are not allowed; "
                    f"write the value itself"
                )
        if self._depth == DEEPEST:
            raise RecipeError(f"line {event.start_mark.line + 1}: nested too deeply for a recipe")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"line {line}: expected a word as key, got a {key.id}")
            if key.value in mapping:
                raise RecipeError(f"line {line}: key {key.value!r} stands twice; remove one")
            mapping[key.value] = self.construct_object(value, deep)
        return mapping


def parse(text: str, where: str) -> Any:
    """The strings, numbers, lists and mappings that a YAML text holds.

    Args:
        text: one YAML document.
        where: what it is, for messages.

    Raises:
        RecipeError: no YAML, or more of it than is allowed here; the message names the line.
    """
    if len(text) > LONGEST:
        raise RecipeError(f"{where}: expected at most {LONGEST} characters; this is no recipe")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: no tags, no objects
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0].partition(";")[0]
        mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
        line = ""
        if mark or position is not None:
            number = mark.line if mark else text[:position].count("\n")
            line = f"line {number + 1}: "
        raise RecipeError(f"{where}: {line}not YAML: {problem}") from error


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)


class _Dumper(yaml.SafeDumper):
    """`SafeDumper` that writes a short list or mapping of scalars on one line."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeDumper.yaml_implicit_resolvers)

    def represent_scalar(self, tag: str, value: str, style: str | None = None) -> Any:
        # PyYAML folds U+0085 and its like to spaces unless they are escaped
        return super().represent_scalar(tag, value, style if value.isprintable() else '"')

    def represent_sequence(self, tag: str, sequence: Any, flow_style: Any = None) -> Any:
        return super().represent_sequence(tag, sequence, _is_short(list(sequence)))

    def represent_mapping(self, tag: str, mapping: Any, flow_style: Any = None) -> Any:
        return super().represent_mapping(tag, mapping, _is_short([*mapping, *mapping.values()]))


def _is_short(parts: list) -> bool:
    scalars = not any(isinstance(part, (list, dict)) for part in parts)
    return scalars and sum(len(str(part)) + 2 for part in parts) <= 72


def write(node: Any) -> str:
    """YAML of strings, numbers, lists and mappings, which `parse` reads back."""
    return yaml.dump(node, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
