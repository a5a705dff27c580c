"""Names for components.

A *kind* of component is a protocol ("solver", "mask", ...); a *component* is a class that
satisfies it and whose constructor signature is its recipe schema.  This module imports
nothing heavy: built-in components are `"module:Class"` strings imported on first use, and
third-party ones are entry points of the group `cotasp.<kind>`, imported when asked for.

>>> from cotasp.registry import KINDS
>>> KINDS["mask"].names()[:2]
['copies', 'dense']
>>> KINDS["solver"].get("larz")
Traceback (most recent call last):
    ...
cotasp.errors.UnknownNameError: unknown solver 'larz'. Did you mean 'lars'?
"""

from __future__ import annotations

import ast
import difflib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cotasp.errors import PluginError, UnknownNameError


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that `wrong` may have been meant to be, in whatever case; None when none is
    near.
    """
    lowered = {name.lower(): name for name in sorted(known, reverse=True)}
    close = difflib.get_close_matches(str(wrong).lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def suggest(wrong: str, known: Iterable[str]) -> str:
    """The sentence that ends every "unknown name" error: the nearest name, or all of them."""
    known = sorted(known)
    close = nearest(wrong, known)
    names = ", ".join(repr(name) if "," in name else name for name in known)
    return f"Did you mean {close!r}?" if close else f"Known: {names or 'none'}."


class Registry:
    """The components of one kind, by name.

    A built-in name cannot be taken: a plug-in that claims one is passed over, and `describe`
    says so.  A name that two plug-ins claim is listed, and refused when it is asked for.

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
    def _plugins(self) -> dict[str, list[str]]:
        """Name to the `"module:Class"` of every plug-in that claims it."""
        group = f"cotasp.{self.kind}"
        try:
            points = entry_points(group=group)
        except Exception as error:  # one package with damaged metadata spoils the whole query
            warnings.warn(f"no plug-ins: cannot read entry points: {error!r}", stacklevel=2)
            return {}
        names = {point.name for point in points}
        return {name: sorted({p.value for p in points if p.name == name}) for name in names}

    def names(self) -> list[str]:
        """All names, sorted; nothing is imported."""
        return sorted({*self._targets, *self._plugins})

    def register(self, name: str, component: type | None = None) -> Callable[[type], type] | type:
        """Adds a component under a name, as a call or as a class decorator.

        A class of the same module and name replaces itself, as when a notebook's cell runs twice.

        Raises:
            ValueError: the name is taken.
            PluginError: the class is no frozen dataclass.
        """
        if component is None:
            return lambda cls: self.register(name, cls)  # type: ignore[return-value]
        _check_frozen(f"{self.kind} {name!r}", component)
        location = f"{component.__module__}:{component.__qualname__}"
        again = isinstance(self._targets.get(name), type) and self.location(name) == location
        if name in self.names() and not again:
            raise ValueError(
                f"{self.kind} {name!r} is already registered as {self.location(name)}; "
                f"choose another name for {location}"
            )
        self._targets[name] = component
        return component

    def location(self, name: str) -> str:
        """Where the component lives, `"module:Class"`; nothing is imported."""
        self._check(name)
        target = self._targets.get(name) or self._plugins[name][0]
        return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"

    def get(self, name: str) -> type:
        """The component's class, imported now.

        Raises:
            UnknownNameError: no such name; the message suggests the nearest one.
            PluginError: a third-party component that cannot be imported, is no frozen dataclass,
                lacks a method of the protocol, or shares its name with another.
        """
        self._check(name)
        target = self._targets.get(name)
        if target is None:
            return self._load_plugin(name)
        if name in self.passed_over:
            warnings.warn(f"{self.kind} {name!r}: {self.note(name)}", stacklevel=2)
        if isinstance(target, str):
            module, _, attribute = target.partition(":")
            return getattr(import_module(module), attribute)
        return target

    def _load_plugin(self, name: str) -> type:
        where = f"{self.kind} {name!r} (entry point {self._plugins[name][0]!r})"
        if len(self._plugins[name]) > 1:
            claims = " and ".join(self._plugins[name])
            raise PluginError(f"{self.kind} {name!r} is claimed by {claims}; uninstall one of them")
        try:
            component = EntryPoint(name, self._plugins[name][0], f"cotasp.{self.kind}").load()
        except (Exception, SystemExit) as error:  # it may fail in any way; say whose fault it is
            raise PluginError(
                f"{where} failed to import: {type(error).__name__}: {error}. "
                f"Repair or uninstall that package."
            ) from error
        if not isinstance(component, type):
            raise PluginError(f"{where}: expected a class, got {component!r}")
        protocol = vars(self._protocol()).items()
        methods = [k for k, v in protocol if callable(v) and (k == "__call__" or k[0] != "_")]
        # through the bases: every class object can itself be called
        missing = [m for m in methods if not any(m in vars(base) for base in component.__mro__)]
        if missing:
            raise PluginError(
                f"{where}: expected the methods of {self.protocol}, "
                f"got a class without {', '.join(missing)}"
            )
        _check_frozen(where, component)
        return component

    def _protocol(self) -> type:
        module, _, attribute = self.protocol.partition(":")
        return getattr(import_module(module), attribute)

    def check_attributes(self, component: object) -> None:
        """Raises PluginError where a component of others lacks what its protocol says it has."""
        cls = type(component)
        if cls.__module__.partition(".")[0] == "cotasp":  # whose own are tested
            return
        protocol = self._protocol()
        named = [name for name, value in vars(protocol).items() if isinstance(value, property)]
        named += [name for name in vars(protocol).get("__annotations__", {}) if name[0] != "_"]
        missing = [name for name in named if not hasattr(component, name)]
        if missing:
            raise PluginError(
                f"{self.kind} {cls.__name__}: expected the attributes of {self.protocol}, got one "
                f"without {', '.join(missing)}; its documentation says what they are"
            )

    def name_of(self, component: object) -> str:
        """The name under which an instance's class is registered.

        Raises:
            UnknownNameError: its class is not registered.
        """
        cls = type(component)
        location = f"{cls.__module__}:{cls.__qualname__}"
        for name in self.names():
            module, _, attribute = self.location(name).partition(":")
            exported = getattr(sys.modules.get(module), attribute, None)  # defined elsewhere
            if self.location(name) == location or exported is cls:
                return name
        raise UnknownNameError(
            f"{location} is not a registered {self.kind}; register it with "
            f"KINDS[{self.kind!r}].register(name, {cls.__name__})"
        )

    def make(self, component: Any, **fields: Any) -> Any:
        """An instance from a name and constructor arguments; an instance alone passes through.

        Raises:
            UnknownNameError, PluginError: as `get`.
            TypeError: an instance with constructor arguments, or arguments that do not fit.

        >>> KINDS["mask"].make("topk", k=64)
        TopK(k=64, gradient='clipped')
        """
        if isinstance(component, str):
            return self.get(component)(**fields)
        if fields:
            raise TypeError(f"expected a {self.kind}'s name with {sorted(fields)}, got {component}")
        return component

    def describe(self, name: str) -> str:
        """One line: the first of a component's docstring, read from its source, and of a plug-in
        where it is from.

        Nothing is imported.
        """
        module, _, attribute = self.location(name).partition(":")
        claims = ", ".join(self._plugins.get(name, ()))
        if name not in self._targets:
            line = "" if ", " in claims else _first_line(module, attribute)
            return f"{line} (from {claims})" if line else f"from {claims}"
        note = f" ({self.note(name)})" if claims else ""
        target = self._targets[name]
        if isinstance(target, type):
            return (target.__doc__ or f"from {module}").strip().split("\n")[0] + note
        return _first_line(module, attribute) + note

    @property
    def passed_over(self) -> list[str]:
        """Names that plug-ins claim but others have, sorted."""
        return sorted(self._targets.keys() & self._plugins.keys())

    def note(self, name: str) -> str:
        """What to know of a name that is among `passed_over`."""
        claims = ", ".join(self._plugins[name])
        return f"a plug-in of the same name is passed over: {claims}"

    def _check(self, name: str) -> None:
        if name not in self._targets and name not in self._plugins:
            known = suggest(name, self.names())
            own = "" if nearest(name, self.names()) else " One of your own: install its package."
            raise UnknownNameError(f"unknown {self.kind} {name!r}. {known}{own}")


def _check_frozen(where: str, component: type) -> None:
    """Raises PluginError for a class of others that is no frozen dataclass."""
    settings = vars(component).get("__dataclass_params__")  # of its own: a base's fields are old
    if settings is None or not settings.frozen:
        without = "without @dataclass" if settings is None else "whose @dataclass is not frozen"
        raise PluginError(
            f"{where}: expected a frozen dataclass, whose fields are its settings, got "
            f"{component.__name__}, {without}; write @dataclass(frozen=True) right above the class"
        )


def _first_line(module: str, attribute: str) -> str:
    """The first line of a class's docstring, read from the source; nothing where there is none."""
    try:
        source = _source(module)
        tree = ast.parse(b"" if source is None else source.read_bytes())
    except (OSError, ValueError, ImportError, SyntaxError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return (ast.get_docstring(node) or "").split("\n")[0]
    return ""


def _source(module: str) -> Path | None:
    """A module's file; to find it nothing is imported, its parents neither."""
    top, *below = module.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if not below:
        return None if spec.origin is None else Path(spec.origin)
    places = [Path(folder, *below) for folder in spec.submodule_search_locations or ()]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


_ENCODERS = "cotasp.prompting.encoders"
_RECALL = "cotasp.prompting.recall"
_SOLVERS = "cotasp.dictionaries.solvers"
_UPDATES = "cotasp.dictionaries.updates"
_MASKS = "cotasp.modules.masks"
_SPECS = "cotasp.modules.specs"
_METHODS = "cotasp.methods"
_STREAMS = "cotasp.tasks.streams"
_LAUNCHERS = "cotasp.sweep.launchers"


class _Kinds(dict[str, Registry]):
    """Registries by kind."""

    def __missing__(self, kind: str) -> Registry:
        raise UnknownNameError(f"unknown kind {kind!r}. {suggest(kind, self)}")


KINDS: dict[str, Registry] = _Kinds(
    (registry.kind, registry)
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
            "recall",
            f"{_RECALL}:RecallPolicy",
            {
                "exact": f"{_RECALL}:Exact",
                "nearest": f"{_RECALL}:Nearest",
                "margin": f"{_RECALL}:Margin",
                "posterior": "cotasp.prompting.posterior:Posterior",
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
                "copies": f"{_MASKS}:Copies",
                "tadell": f"{_METHODS}.tadell:TaDeLL",
                "packnet": f"{_METHODS}.packnet:PackNet",
                "hat": f"{_METHODS}.hat:HAT",
                "wsn": f"{_METHODS}.wsn:WSN",
                "supsup": f"{_METHODS}.supsup:SupSup",
                "ssde": f"{_METHODS}.ssde:SSDE",
                "pnn": f"{_METHODS}.pnn:PNN",
                "progress_compress": f"{_METHODS}.progress_compress:ProgressCompress",
            },
        ),
        Registry(
            "protection",
            f"{_METHODS}.protection:Protection",
            {
                "freeze": f"{_METHODS}.freeze:Freeze",
                "none": f"{_METHODS}.freeze:Unprotected",
                "ewc": f"{_METHODS}.ewc:EWC",
                "mas": f"{_METHODS}.mas:MAS",
                "l2": f"{_METHODS}.l2:L2",
                "l2_init": f"{_METHODS}.l2_init:L2Init",
                "vcl": f"{_METHODS}.vcl:VCL",
                "agem": f"{_METHODS}.agem:AGEM",
                "cloning": f"{_METHODS}.cloning:Cloning",
                "pcgrad": f"{_METHODS}.pcgrad:PCGrad",
            },
        ),
        Registry(
            "memory",
            f"{_METHODS}.memory:Memory",
            {
                "task": f"{_METHODS}.memories.task:TaskOnly",
                "shelf": f"{_METHODS}.memories.shelf:Shelf",
                "reservoir": f"{_METHODS}.memories.reservoir:Reservoir",
                "mixed": f"{_METHODS}.memories.mixed:Mixed",
            },
        ),
        Registry(
            "renewal",
            f"{_METHODS}.renewal:Renewal",
            {
                "redo": f"{_METHODS}.redo:ReDo",
                "continual_backprop": f"{_METHODS}.continual_backprop:ContinualBackprop",
                "shrink_perturb": f"{_METHODS}.shrink_perturb:ShrinkPerturb",
                "sensitivity": f"{_METHODS}.ssde:Sensitivity",
            },
        ),
        Registry(
            "stream",
            f"{_STREAMS}:Stream",
            {
                "cw10": f"{_STREAMS}:CW10",
                "cw20": f"{_STREAMS}:CW20",
                "metaworld": f"{_STREAMS}:MetaWorld",
                "gymnasium": "cotasp.tasks.gym_streams:Gymnasium",
                "point": "cotasp.tasks.point_streams:Point",
                "point_goals": "cotasp.tasks.point_streams:PointGoals",
                "cheetah_velocity": "cotasp.tasks.mujoco_streams:CheetahVelocity",
                "cheetah_direction": "cotasp.tasks.mujoco_streams:CheetahDirection",
                "ant_goal": "cotasp.tasks.mujoco_streams:AntGoal",
                "ant_direction": "cotasp.tasks.mujoco_streams:AntDirection",
            },
        ),
        Registry(
            "critic",
            f"{_SPECS}:Critic",
            {
                "mlp": f"{_SPECS}:MLPCritic",
                "residual": f"{_SPECS}:ResidualCritic",
                "categorical": f"{_SPECS}:CategoricalCritic",
                "popart": f"{_SPECS}:PopArtCritic",
            },
        ),
        Registry(
            "agent",
            "cotasp.agents.agent:Agent",
            {
                "sac": "cotasp.agents.sac:SAC",
                "td3": "cotasp.agents.td3:TD3",
                "ppo": "cotasp.agents.ppo:PPO",
                "comps": "cotasp.agents.comps:CoMPS",
            },
        ),
        Registry(
            "launcher",
            f"{_LAUNCHERS}:Launcher",
            {
                "local": f"{_LAUNCHERS}:Local",
                "ray": f"{_LAUNCHERS}:Ray",
                "slurm": f"{_LAUNCHERS}:Slurm",
                "stacked": f"{_LAUNCHERS}:Stacked",
            },
        ),
    )
)


def registry_for(annotation: type) -> Registry | None:
    """The registry that an annotation selects, or None when it names no protocol."""
    location = f"{getattr(annotation, '__module__', '')}:{getattr(annotation, '__qualname__', '')}"
    return next((r for r in KINDS.values() if r.protocol == location), None)
