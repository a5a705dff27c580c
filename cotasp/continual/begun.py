"""Whether a run goes on under what it began with: its recipe, versions and threads."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterator, Mapping
from typing import Any

import torch

from cotasp.continual.protocol import versions
from cotasp.errors import RecipeError, RunError
from cotasp.recipe import RESUME_MAY_DIFFER, Recipe, load, loads, to_node
from cotasp.storage.checkpoints import Checkpoints
from cotasp.storage.rundir import STAMP, RunDirectory

BEGUN = "recipe"  # of the stamp: the recipe at the beginning, as YAML


def recipe_of(directory: RunDirectory) -> Recipe:
    """The recipe of a run directory.

    Raises:
        RecipeError: it cannot be read.
        RunError: it is not the one with which the run began, so that what was learned, or
            measured, would be given out as another recipe's.
    """
    recipe = load(directory.recipe)
    begun = directory.stamp().get(BEGUN)
    if not isinstance(begun, str) or begun == directory.recipe.read_text(encoding="utf-8"):
        return recipe
    try:
        then, now = (dict(flat(to_node(each))) for each in (loads(begun), recipe))
    except RecipeError as error:
        raise RunError(f"{directory.path / STAMP}: {BEGUN}: {error}") from error
    differ = differences(then, now, RESUME_MAY_DIFFER, ("then", "now"))
    if differ:
        raise RunError(
            f"{directory.recipe}: changed since the run began ({'; '.join(differ)}); put that "
            f"back, or {directory.again()}"
        )
    return recipe


def warn_of_changes(directory: RunDirectory) -> None:
    """Warns where a run that goes on may not end as it would have done."""
    if not Checkpoints(directory.path).paths():
        warnings.warn(
            f"{directory.path}: there is no checkpoint; the run begins again at its first step",
            stacklevel=3,
        )
    stamp = directory.stamp()
    then, now = stamp.get("versions", {}), versions()
    changed = [f"{k} {then[k]} -> {now.get(k)}" for k in then if then[k] != now.get(k)]
    differ = [f"begun with other versions ({', '.join(changed)})"] if changed else []
    begun, threads = stamp.get("threads"), torch.get_num_threads()
    if begun not in (None, threads):
        differ.append(
            f"begun with {begun} threads of torch and not {threads}: sums round otherwise"
        )
    if differ:
        warnings.warn(
            f"{directory.path}: {'; '.join(differ)}: the run goes on, "
            f"but perhaps not bit for bit as it would have done",
            stacklevel=3,
        )


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], free: Container[str], words: tuple[str, str]
) -> list[str]:
    """Where two flat mappings differ, a phrase for each key, but for those that are free to.

    Args:
        words: what the values of one and the other are called, such as `("then", "now")`.
    """
    return [
        f"{key}: {one.get(key)} {words[0]}, {other.get(key)} {words[1]}"
        for key in {**one, **other}
        if key not in free and one.get(key) != other.get(key)
    ]


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a nested mapping with its dotted key."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
