"""Which trials a sweep consists of."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from cotasp._yaml import parse
from cotasp.errors import RecipeError, component_errors
from cotasp.recipe import INCIDENTAL, Recipe, load, with_seed
from cotasp.recipe_files import beside, find_recipe, override_node, read_node
from cotasp.registry import suggest
from cotasp.words import as_text, between_commas

KEYS = (
    "question",
    "recipe",
    "recipes",
    "overrides",
    "axes",
    "seeds",
    "baseline",
    "single_tasks",
)
SINGLE = "single/"  # where single tasks are
_INLINE = re.compile(r"\{[^][{}]*\}|\[[^][{}]*\]")  # an innermost mapping or list
_LONGEST = 120  # characters of a directory's name
_MOST_SEEDS = 10_000

Axis = Mapping[str, Sequence[str]]  # name of a value to the overrides that make it


class Variant(NamedTuple):
    """A recipe file and what is changed of it."""

    recipe: Path
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """A recipe, its variants and their seeds.

    Args:
        recipe: a recipe file.
        axes: name to values; every combination is a variant.
        seeds: of each variant.
        overrides: of every trial.
        question: what the sweep is for.
        baseline: name of the variant that the others are compared with, or None.
        single_tasks: whether the baseline also learns each task alone, for forward transfer.
        others: recipe files that vary, by name, each with overrides of its own; `recipe` is the
            first of them.  Empty: `recipe` alone.
        only: names of the variants that are wanted; empty: all.
    """

    recipe: Path
    axes: Mapping[str, Axis] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    overrides: Sequence[str] = ()
    question: str = ""
    baseline: str | None = None
    single_tasks: bool = False
    others: Mapping[str, Variant] = field(default_factory=dict)
    only: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.seeds:
            raise RecipeError("sweep: seeds: expected at least one, got none")
        for name, axis in self.axes.items():
            if not axis:
                raise RecipeError(f"sweep: axis {name!r} names nothing; give it values")
        overrides = [o for axis in self.axes.values() for group in axis.values() for o in group]
        if "seed" in map(key_of, [*overrides, *self.overrides]):
            raise RecipeError("sweep: seed: every variant has the same seeds; name them by --seeds")
        _check_apart(self.axes)
        edits = [*self.overrides, *(o for file in self.others.values() for o in file.overrides)]
        for override, (name, axis) in itertools.product(edits, self.axes.items()):
            _check_kept(override, name, axis)

    def variants(self) -> dict[str, Variant]:
        """Each variant that is wanted by its name; recipe files slowest, then the first axis.

        Raises:
            RecipeError: one that is wanted is none of them.
        """
        variants = self._every_variant()
        for name in self.only:
            if name not in variants:
                raise RecipeError(f"sweep: no variant {name!r}. {suggest(name, variants)}")
        return {name: v for name, v in variants.items() if not self.only or name in self.only}

    def _every_variant(self) -> dict[str, Variant]:
        variants: dict[str, Variant] = {}
        files = self.others or {"": Variant(self.recipe)}
        for name, (stem, values) in self._choices().items():
            changes = [o for axis, value in values.items() for o in self.axes[axis][value]]
            file = files[stem]
            variants[name] = Variant(file.recipe, [*self.overrides, *file.overrides, *changes])
        return variants

    def _choices(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Of each variant the name of its recipe file, and each axis's value."""
        choices = {}
        for stem in self.others or ("",):
            for choice in itertools.product(*self.axes.values()):
                values = dict(zip(self.axes, choice))
                parts = [f"{axis}={value}" for axis, value in values.items()]
                choices[",".join([stem, *parts] if stem else parts) or "all"] = stem, values
        return choices

    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each variant.

        Raises:
            RecipeError: an override that does not fit, two variants of one recipe, or a baseline
                that is no variant.
        """
        every = self._every_variant()
        if self.baseline is not None and self.baseline not in every:
            raise RecipeError(
                f"sweep: baseline: no variant {self.baseline!r}. {suggest(self.baseline, every)}"
            )
        recipes: dict[str, Recipe] = {}
        for name, variant in self.variants().items():
            recipes[name] = _recipe_of(name, variant)
            for twin, other in recipes.items():
                if twin != name and _one_variant(other, recipes[name]):
                    raise RecipeError(
                        f"sweep: {twin} and {name} are the same recipe but for "
                        f"{' and '.join(INCIDENTAL)}, which make no variant; leave one out"
                        if other != recipes[name]
                        else f"sweep: {twin} and {name} are the same recipe; leave one out"
                    )
        return recipes

    def resolved(self) -> dict[str, Recipe]:
        """Every trial's recipe by its directory, single-task runs last."""
        recipes = self.recipes()
        folders = directories(self._every_variant())
        trials = {
            f"{folders[name]}/seed{seed}": with_seed(recipe, seed)
            for name, recipe in recipes.items()
            for seed in self.seeds
        }
        if self.single_tasks:
            every = self._every_variant()  # whichever are wanted, single tasks are the same runs
            name = self.baseline or next(iter(every))
            chosen = recipes.get(name) or _recipe_of(name, every[name])
            if self.baseline is None and name not in recipes:
                raise RecipeError(
                    "sweep: single tasks: they are of the baseline's recipe, or of the first "
                    "variant's, which --only leaves out; name one of those it has by --baseline"
                )
            for task, recipe in each_alone(chosen).items():
                trials |= {f"{SINGLE}{task}/seed{s}": with_seed(recipe, s) for s in self.seeds}
        return trials

    def facts(self, trials: Iterable[str]) -> dict[str, Any]:
        """What `sweep.json` says: question, baseline, the values of each variant on each axis, and
        the directories of each variant and task.

        Args:
            trials: directories, the keys of `resolved()`.
        """
        wanted = self.variants()
        every = directories(self._every_variant())
        folders = {name: every[name] for name in wanted}
        axes = {
            name: ({"recipe": stem} if len(self.others) > 1 else {}) | values
            for name, (stem, values) in self._choices().items()
            if name in wanted
        }
        alone = (trial.rpartition("/")[0] for trial in trials if trial.startswith(SINGLE))
        folders |= {folder: folder for folder in alone}
        return {
            "question": self.question,
            "recipe": str(self.recipe),
            "baseline": self.baseline if self.baseline in wanted else None,
            "axes": axes,
            "trials": {
                name: {str(s): f"{folder}/seed{s}" for s in self.seeds}
                for name, folder in folders.items()
            },
        }


def _recipe_of(name: str, variant: Variant) -> Recipe:
    try:
        return load(variant.recipe, variant.overrides)
    except RecipeError as error:
        raise RecipeError(f"sweep: {name}: {error}") from error


def _one_variant(one: Recipe, other: Recipe) -> bool:
    """Whether reports take them for one."""
    return one == replace(other, **{name: getattr(one, name) for name in INCIDENTAL})


def directories(names: Iterable[str]) -> dict[str, str]:
    """Each variant's directory; those that would share one end with a hash of their name."""
    folders = {name: directory_name(name) for name in names}
    taken = list(folders.values())
    return {
        name: _hashed(folder, name) if folder != name and taken.count(folder) > 1 else folder
        for name, folder in folders.items()
    }


def directory_name(name: str) -> str:
    """A variant's directory: its name, where file systems allow it, without braces and spaces.

    >>> directory_name("dictionary.update=online,agent.gamma=0.9")
    'dictionary.update=online,agent.gamma=0.9'
    >>> directory_name("protection={name: l2, weight: 10},actor.hidden=[256, 256]")
    'protection=l2,weight=10,actor.hidden=256+256'
    """
    flat = name
    while (match := _INLINE.search(flat)) is not None:
        flat = flat[: match.start()] + _in_words(match[0]) + flat[match.end() :]
    safe = re.sub(r"[^\w.=,+-]+", "-", flat, flags=re.ASCII).strip("-.")
    return safe if safe == flat and len(safe) <= _LONGEST else _hashed(safe, name)


def _in_words(inline: str) -> str:
    """A mapping or list of one line, as `name: l2` is `l2` and `weight: 10` is `weight=10`."""
    parts = [part.strip(" \"'") for part in inline[1:-1].split(",")]
    if inline[0] == "[":
        return "+".join(parts)
    pairs = [re.split(r"[\"']?: *[\"']?", part, maxsplit=1) for part in parts]
    return ",".join(pair[-1] if pair[0] == "name" else "=".join(pair) for pair in pairs)


def _hashed(folder: str, name: str) -> str:
    return f"{folder[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def each_alone(recipe: Recipe) -> dict[str, Recipe]:
    """A recipe's tasks, each alone, by environment.

    Raises:
        RecipeError: the stream is not one whose tasks can be listed.
    """
    from cotasp.tasks.streams import Separable

    stream = recipe.stream
    if not isinstance(stream, Separable):
        raise RecipeError(
            f"sweep: single tasks: {type(stream).__name__} has no method `alone`, so its tasks "
            f"cannot be taken one by one; name its single-task runs in `cotasp report` yourself"
        )
    recipes: dict[str, Recipe] = {}
    with component_errors("stream", stream):
        tasks = stream.make_tasks()
    for index, task in enumerate(tasks):
        if task.env not in recipes:
            recipes[task.env] = replace(recipe, stream=stream.alone(index))
    return recipes


def key_of(override: str) -> str:
    """The key that `key=value` sets."""
    return override.partition("=")[0].strip()


def _check_kept(override: str, name: str, axis: Axis) -> None:
    """Raises RecipeError where an axis sets or replaces what an override of all trials sets."""
    key = key_of(override)
    for change in (change for changes in axis.values() for change in changes):
        varied = key_of(change)
        if key == varied:
            raise RecipeError(f"sweep: {override}: an axis varies {key}; leave out one of the two")
        if key.startswith(f"{varied}.") and _names_component(change):
            raise RecipeError(
                f"sweep: {override}: the axis {name!r} replaces {varied}, and this with it; write "
                f"it into its values, as {{name: ..., {key.removeprefix(varied + '.')}: ...}}"
            )


def _names_component(override: str) -> bool:
    """Whether its value is a component, which replaces one of another name with its fields."""
    value: Any = override_node(override)
    for part in key_of(override).split("."):
        value = value[part]
    return isinstance(value, str) or (isinstance(value, Mapping) and "name" in value)


def _check_apart(axes: Mapping[str, Axis]) -> None:
    """Raises RecipeError where two axes set the same thing."""
    keys = {
        name: {key_of(override) for overrides in axis.values() for override in overrides}
        for name, axis in axes.items()
    }
    for (one, mine), (other, theirs) in itertools.combinations(keys.items(), 2):
        for a, b in itertools.product(mine, theirs):
            if a == b or a.startswith(f"{b}.") or b.startswith(f"{a}."):
                where = a if a == b else f"{a} and {b}"
                raise RecipeError(
                    f"sweep: the axes {one!r} and {other!r} contradict each other: "
                    f"both set {where}; make them one axis"
                )


def split_values(text: str) -> list[str]:
    """The values of `--axis key=a,b`, where brackets keep commas.

    >>> split_values("[256,256],[1024],x")
    ['[256,256]', '[1024]', 'x']
    """
    return [value for value in between_commas(text) if value]


def names_in(text: str, known: Collection[str]) -> list[str]:
    """Names joined by commas, which themselves may have commas; what is not known is kept.

    >>> names_in("a=1,b=2,c", ["a=1,b=2", "a=1,b=3", "c"])
    ['a=1,b=2', 'c']
    """
    parts, names = text.split(","), []
    while parts:
        heads = [",".join(parts[:end]).strip() for end in range(1, len(parts) + 1)]
        ends = [end for end, head in enumerate(heads, start=1) if head in known]
        begun = any(name.startswith(f"{heads[0]},") for name in known)
        end = ends[-1] if ends else len(parts) if begun else 1  # of a wrong name all is told
        names.append(heads[end - 1])
        parts = parts[end:]
    return names


def axis_of(text: str) -> tuple[str, Axis]:
    """An axis from `key=a,b`.

    Raises:
        RecipeError: no key, or no value.
    """
    key, _, values = text.partition("=")
    alternatives = split_values(values)
    if not key.strip() or not alternatives:
        raise RecipeError(
            f"--axis {text!r}: expected key=value,value, e.g. dictionary.update=online,anchored"
        )
    levels = [(value, [f"{key.strip()}={value}"]) for value in alternatives]
    return key.strip(), _apart(f"--axis {text!r}", levels)


def load_sweep(path: str | Path) -> Plan:
    """Reads a sweep file; a recipe is a sweep without axes.

    Its keys: `recipe` (relative to it) or `recipes`, `axes`, and, if wanted, `question`,
    `overrides`, `seeds` (how many, or which), `baseline`, `single_tasks`.  `recipes` is a list of
    files, or a mapping of names to lists of a file and its overrides, which are laid on those of
    all trials.  An axis is a list of values of the recipe key that it is named after, or a mapping
    of names to lists of overrides.

    Raises:
        RecipeError: anything wrong, named by its key.
    """
    path = find_recipe(path)
    node = read_node(path)
    if "recipe" in node and "recipes" in node:
        raise RecipeError(f"{path}: recipes: expected either this key or recipe, got both")
    if "recipe" in node and not (isinstance(node["recipe"], str) and node["recipe"].strip()):
        raise RecipeError(f"{path}: recipe: expected a file, got {node['recipe']!r}")
    if not {"recipe", "recipes"} & {*node}:
        if "axes" in node:
            raise RecipeError(f"{path}: missing key 'recipe': a file, relative to this one")
        return Plan(recipe=path, question=str(node.get("question") or ""))
    for key in node:
        if key not in KEYS:
            raise RecipeError(f"{path}: unknown key {key!r}. {suggest(key, KEYS)}")
    axes = node.get("axes") or {}
    if not isinstance(axes, dict):
        raise RecipeError(f"{path}: axes: expected a mapping of names to values, got {axes!r}")
    baseline, single_tasks = node.get("baseline"), node.get("single_tasks", False)
    if not isinstance(single_tasks, bool):
        raise RecipeError(f"{path}: single_tasks: expected true or false, got {single_tasks!r}")
    others = _files(path, node["recipes"]) if "recipes" in node else {}
    first = next(iter(others.values())).recipe if others else beside(path, str(node["recipe"]))
    return Plan(
        recipe=first,
        others=others,
        axes={name: _axis(f"{path}: axes.{name}", name, values) for name, values in axes.items()},
        seeds=seeds_of(node.get("seeds", 1), f"{path}: seeds"),
        overrides=_overrides(f"{path}: overrides", node.get("overrides", [])),
        question=str(node.get("question") or ""),
        baseline=None if baseline is None else str(baseline),
        single_tasks=single_tasks,
    )


def _files(path: Path, values: Any) -> dict[str, Variant]:
    """Variants by name, of a sweep's `recipes`."""
    if isinstance(values, list):
        entries = [(Path(str(value)).stem, [value]) for value in values]
    else:
        entries = list(values.items()) if isinstance(values, dict) else []
    if not entries:
        raise RecipeError(
            f"{path}: recipes: expected a list of files, or names of [file, key=value, ...], got "
            f"{values!r}"
        )
    variants: dict[str, Variant] = {}
    for name, value in entries:
        where = f"{path}: recipes.{name}"
        file, *overrides = _overrides(where, value) or [""]
        if not file or str(name) in variants:
            raise RecipeError(f"{where}: expected a file, and a name that is there once")
        variants[str(name)] = Variant(beside(path, file), overrides)
    return variants


def seeds_of(value: Any, where: str) -> tuple[int, ...]:
    """Seeds from their number, or from a list of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        if value > _MOST_SEEDS:
            one = f"{value}," if where == "--seeds" else f"[{value}]"
            raise RecipeError(
                f"{where}: expected at most {_MOST_SEEDS:,} seeds, got {value}; for the seed of "
                f"that number alone: {one}"
            )
        return tuple(range(value))
    fits = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    if fits and len(set(value)) < len(value):
        twice = next(seed for seed in value if value.count(seed) > 1)
        raise RecipeError(
            f"{where}: expected each seed once, got {twice} more than once in {value!r:.60}; leave "
            f"the others out"
        )
    if not fits or not value:
        raise RecipeError(f"{where}: expected at least 1 or a list of seeds, got {value!r}")
    return tuple(value)


def _axis(where: str, name: str, values: Any) -> Axis:
    if isinstance(values, dict):
        levels = [(str(k), _overrides(f"{where}.{k}", v)) for k, v in values.items()]
        return _apart(where, levels)
    if not isinstance(values, list):
        raise RecipeError(f"{where}: expected a list of values, or names of overrides")
    return _apart(where, [(as_text(value), [f"{name}={_flow(value)}"]) for value in values])


def _apart(where: str, levels: Sequence[tuple[str, list[str]]]) -> Axis:
    """The axis, unless two of its values would have one name."""
    names = [name for name, _ in levels]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(
                f"{where}: two values are called {name!r}; name them apart, in a sweep file: "
                f"{{one: [key=value, ...], other: [key=value, ...]}}"
            )
    return dict(levels)


def _flow(value: Any) -> str:
    """A value as an override writes it."""
    if not isinstance(value, str):
        return json.dumps(value)
    with suppress(RecipeError):
        if value.lstrip()[:1] in ("{", "[") or parse(value, "") == value:
            return value
    return json.dumps(value)  # text that would be read as something else, as "1"


def _overrides(where: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise RecipeError(f"{where}: expected a list of key=value, got {values!r}")
    return values
