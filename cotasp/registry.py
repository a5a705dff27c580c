"""Names for components.

A *kind* of component is a protocol ("solver", "mask", ...); a *component* is a class that
satisfies it and whose constructor signature is its recipe schema.  This module imports
nothing heavy: built-in components are `"module:Class"` strings imported on first use, and
third-party ones are entry points of the group `cotasp.<kind>`, imported when asked for.

>>> from cotasp.registry import KINDS
>>> KINDS["mask"].names()[:2]
['dense', 'random']
>>> KINDS["solver"].get("larz")
Traceback (most recent call last):
    ...
cotasp.errors.UnknownNameError: unknown solver 'larz'. Did you mean 'lars'?
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from cotasp.errors import PluginError, UnknownNameError


def suggest(wrong: str, known: Iterable[str]) -> str:
    """The sentence that ends every "unknown name" error: the nearest name, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(str(wrong), known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known) or 'none'}."


class Registry:
    """The components of one kind, by name.

    Args:
        kind: the word used in recipes, messages and the entry-point group.
        protocol: `"module:Class"` of the protocol; an annotation with it selects this registry.
        builtin: name to `"module:Class"`.
    """

    def __init__(self, kind: str, protocol: str, builtin: Mapping[str, str]):
        self.kind = kind
        self.protocol = protocol
        self._targets: dict[str, str | type] = dict(builtin)

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=f"cotasp.{self.kind}")}

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return sorted({*self._targets, *self._plugins})

    def register(self, name: str, component: type | None = None) -> Callable[[type], type] | type:
        """Adds a component under a name, as a call or as a class decorator.

        Raises:
            ValueError: the name is taken.
        """
        if component is None:
            return lambda cls: self.register(name, cls)  # type: ignore[return-value]
        if name in self.names():
            raise ValueError(
                f"{self.kind} {name!r} is already registered as {self.location(name)}; "
                f"choose another name for {component.__module__}:{component.__qualname__}"
            )
        self._targets[name] = component
        return component

    def location(self, name: str) -> str:
        """Where the component lives, `"module:Class"`; nothing is imported."""
        self._check(name)
        if name not in self._targets:
            return self._plugins[name].value
        target = self._targets[name]
        return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"

    def get(self, name: str) -> type:
        """The component's class, imported now.

        Raises:
            UnknownNameError: no such name; the message suggests the nearest one.
            PluginError: a third-party component failed to import.
        """
        self._check(name)
        if name not in self._targets:
            point = self._plugins[name]
            try:
                return point.load()
            except Exception as error:  # a plug-in may fail in any way; say whose fault it is
                raise PluginError(
                    f"{self.kind} {name!r} (entry point {point.value!r}) failed to import: "
                    f"{type(error).__name__}: {error}. Repair or uninstall that package."
                ) from error
        target = self._targets[name]
        if isinstance(target, str):
            module, _, attribute = target.partition(":")
            return getattr(import_module(module), attribute)
        return target

    def name_of(self, component: object) -> str:
        """The name under which an instance's class is registered.

        Raises:
            UnknownNameError: its class is not registered.
        """
        cls = type(component)
        location = f"{cls.__module__}:{cls.__qualname__}"
        for name in self.names():
            if self.location(name) == location:
                return name
        raise UnknownNameError(
            f"{location} is not a registered {self.kind}; register it with "
            f"KINDS[{self.kind!r}].register(name, {cls.__name__})"
        )

    def make(self, component: Any, **fields: Any) -> Any:
        """An instance from a name and constructor arguments; an instance passes through.

        >>> KINDS["mask"].make("topk", k=64)
        TopK(k=64, gradient='clipped')
        """
        return self.get(component)(**fields) if isinstance(component, str) else component

    def describe(self, name: str) -> str:
        """First line of the component's docstring, read from its source without importing it."""
        module, _, attribute = self.location(name).partition(":")
        root = Path(__file__).parent
        source = root.parent.joinpath(*module.split(".")).with_suffix(".py")
        if not module.startswith("cotasp.") or not source.is_file():
            return f"from {module}"
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == attribute:
                return (ast.get_docstring(node) or "").split("\n")[0]
        return ""

    def _check(self, name: str) -> None:
        if name not in self._targets and name not in self._plugins:
            raise UnknownNameError(f"unknown {self.kind} {name!r}. {suggest(name, self.names())}")


_ENCODERS = "cotasp.prompting.encoders"
_SOLVERS = "cotasp.dictionaries.solvers"
_UPDATES = "cotasp.dictionaries.updates"
_MASKS = "cotasp.modules.masks"
_PROTECTIONS = "cotasp.learning.protections"
_STREAMS = "cotasp.tasks.streams"

KINDS: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        Registry(
            "encoder",
            f"{_ENCODERS}:Encoder",
            {
                "sbert": f"{_ENCODERS}:SBERT",
                "onehot": f"{_ENCODERS}:OneHot",
                "tfidf": f"{_ENCODERS}:TfIdf",
                "random": f"{_ENCODERS}:RandomEncoder",
            },
        ),
        Registry(
            "solver",
            f"{_SOLVERS}:Solver",
            {
                "lars": f"{_SOLVERS}:Lars",
                "fista": f"{_SOLVERS}:Fista",
                "cd": f"{_SOLVERS}:CoordinateDescent",
                "threshold": f"{_SOLVERS}:Threshold",
                "omp": f"{_SOLVERS}:OMP",
                "sklearn_lars": f"{_SOLVERS}:SklearnLars",
                "sklearn_cd": f"{_SOLVERS}:SklearnCD",
                "celer": f"{_SOLVERS}:Celer",
            },
        ),
        Registry(
            "update",
            f"{_UPDATES}:UpdateRule",
            {
                "online": f"{_UPDATES}:Online",
                "anchored": f"{_UPDATES}:Anchored",
                "frozen": f"{_UPDATES}:Frozen",
                "lazy": f"{_UPDATES}:Lazy",
            },
        ),
        Registry(
            "mask",
            f"{_MASKS}:MaskPolicy",
            {
                "step": f"{_MASKS}:Step",
                "topk": f"{_MASKS}:TopK",
                "sigmoid": f"{_MASKS}:Sigmoid",
                "random": f"{_MASKS}:RandomMask",
                "dense": f"{_MASKS}:Dense",
            },
        ),
        Registry(
            "protection",
            f"{_PROTECTIONS}:Protection",
            {
                "freeze": f"{_PROTECTIONS}:Freeze",
                "none": f"{_PROTECTIONS}:Unprotected",
                "ewc": f"{_PROTECTIONS}:EWC",
            },
        ),
        Registry(
            "stream",
            f"{_STREAMS}:Stream",
            {
                "cw10": f"{_STREAMS}:CW10",
                "cw20": f"{_STREAMS}:CW20",
                "metaworld": f"{_STREAMS}:MetaWorld",
                "gymnasium": f"{_STREAMS}:Gymnasium",
                "point": f"{_STREAMS}:Point",
            },
        ),
        Registry("agent", "cotasp.learning.agent:Agent", {"sac": "cotasp.learning.sac:SAC"}),
    )
}


def registry_for(annotation: type) -> Registry | None:
    """The registry that an annotation selects, or None when it names no protocol."""
    location = f"{getattr(annotation, '__module__', '')}:{getattr(annotation, '__qualname__', '')}"
    return next((r for r in KINDS.values() if r.protocol == location), None)
