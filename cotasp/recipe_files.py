"""Recipe files before they are typed: found, read, laid on one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotasp._yaml import LONGEST, parse
from cotasp.errors import RecipeError
from cotasp.registry import nearest


def merge(base: Any, over: Any) -> Any:
    """`over` laid on `base`: mappings merge key by key, all else replaces.

    A bare name means `{name: ...}`; a mapping that names another component replaces the node.
    """
    if isinstance(base, str) and isinstance(over, Mapping) and "name" not in over:
        base = {"name": base}
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{k: merge(base[k], v) if k in base else v for k, v in over.items()}}


def settings_dropped(base: Any, over: Any, path: str = "") -> list[str]:
    """Paths of what `base` sets and `merge` leaves out, as a component is named in its place.

    One that is written out, with fields of its own, drops nothing that its writer would miss.

    >>> settings_dropped({"agent": {"gamma": 0.9}}, {"agent": "td3"})
    ['agent.gamma']
    """
    if not isinstance(base, Mapping):
        return []
    node = over if isinstance(over, Mapping) else {}
    if isinstance(over, str) or (set(node) == {"name"} and node["name"] != base.get("name")):
        return [f"{path}{key}" for key in base if key != "name"]
    return [
        gone
        for key, value in node.items()
        for gone in settings_dropped(base.get(key), value, f"{path}{key}.")
    ]


def shipped() -> dict[str, Path]:
    """The recipes and sweeps that come with the package, by name, as `smoke`, `ablations/mask`."""
    here = Path(__file__).parent
    folder = here / "recipes" if (here / "recipes").is_dir() else here.parent / "recipes"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
    }


def find_recipe(path: str | Path) -> Path:
    """The file that a path or a name means: the one that is there, or a shipped one.

    `smoke`, `smoke.yaml` and `recipes/smoke.yaml` all mean a shipped recipe where no such file is.
    """
    path = Path(path)
    try:
        if path.is_absolute() or path.is_file():
            return path
    except (OSError, ValueError):  # reading it says what is wrong
        return path
    name = path.as_posix().removeprefix("recipes/")
    return shipped().get(name.removesuffix(".yaml"), path)


def beside(path: Path, name: str) -> Path:
    """The file that a name in the one at `path` means: one beside it, or a shipped one."""
    written = path.parent / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    try:
        for file in (written, path.parent / name):
            if file.is_file() and not file.samefile(path):
                return file
    except (OSError, ValueError):  # reading it says what is wrong
        return written
    return shipped().get(name.removeprefix("recipes/").removesuffix(".yaml"), written)


def read_node(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        RecipeError: no such file, or it holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except FileNotFoundError as error:
        others = {other.stem: other for other in path.parent.glob("*.y*ml")}
        filed = path.parent / "recipes" / f"{path.stem}.yaml"
        close: object = filed if filed.is_file() else others.get(nearest(path.stem, others) or "")
        close = close or nearest(
            path.with_suffix("").as_posix().removeprefix("recipes/"), shipped()
        )
        remedy = f"did you mean {close}?" if close else "check the path"
        raise RecipeError(f"{path}: no such file; {remedy}") from error
    except (OSError, ValueError) as error:
        if (path / "recipe.yaml").is_file():
            raise RecipeError(
                f"{path}: expected a recipe, got the directory of a run; its recipe is "
                f"{path / 'recipe.yaml'}, and `cotasp resume {path}` goes on with it"
            ) from error
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(f"{path}: cannot read the recipe: {reason}") from error
    return mapping(parse(text, str(path)), str(path))


def mapping(node: Any, where: str) -> dict[str, Any]:
    """The node, which must be a mapping; RecipeError where it is something else."""
    if isinstance(node, dict):
        return node
    got = "nothing" if node is None else "a list" if isinstance(node, list) else "a single value"
    raise RecipeError(f"{where}: expected a mapping, such as `seed: 0`, got {got}")


def base_of(path: Path, name: Any) -> dict[str, Any]:
    """The recipe that the one at `path` names as its base: a file beside it, or a shipped one."""
    if not isinstance(name, str):
        raise RecipeError(f"{path}: base: expected the name of a recipe, got {name!r}")
    base = beside(path, name)
    try:
        node = read_node(base)
    except RecipeError as error:
        raise RecipeError(f"{path}: base: {error}") from error
    if "base" in node:
        raise RecipeError(f"{path}: base: {base} has a base of its own; one level is allowed")
    return node


def override_node(text: str) -> dict[str, Any]:
    """What `key.path=value` lays on a recipe.

    Raises:
        RecipeError: it is not of that form.
    """
    if not isinstance(text, str):
        raise RecipeError(f"override: expected key=value, e.g. 'seed=1', got {text!r}")
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not (equals and all(parts)):
        raise RecipeError(f"override {text!r}: expected key=value, e.g. dictionary.lmbda=1e-2")
    node: Any = parse(value, f"override {text!r}")
    for part in reversed(parts):
        node = {part: node}
    return node
