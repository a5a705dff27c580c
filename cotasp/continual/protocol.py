"""The protocol stamp: what must agree before two results may stand in one table."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cotasp._version import __version__
from cotasp.continual.metrics import METRICS
from cotasp.errors import component_errors, refuse_returned
from cotasp.recipe import Recipe

_PACKAGES = (
    "torch",
    "torchrl",
    "tensordict",
    "gymnasium",
    "metaworld",
    "mujoco",
    "numpy",
)

# what a single-task baseline must share with the run it is compared with
COMPARABLE = (
    "environment",
    "reward_version",
    "horizon",
    "action_repeat",
    "success_return",
    "return_range",
    "radius",
    "gear",
    "steps_per_task",
    "evaluate_every",
    "episodes",
    "evaluation_mode",
    "success_rule",
)


def unlike(single: Mapping[str, Any], stamp: Mapping[str, Any]) -> str | None:
    """The first of `COMPARABLE` in which a run of one task is no baseline of another; None: it is.

    Args:
        single: stamp of the run of one task.
        stamp: of the run that it is to be compared with.  What its tasks do not share stands there
            once per task, as `one_or_all` of `cotasp.tasks.entries` writes it.
    """
    tasks = _split_values(stamp.get("tasks"))
    mine = str(single.get("tasks"))
    for key in COMPARABLE:
        value, own = single.get(key), stamp.get(key)
        each = _split_values(own)
        if value != own and len(each) == len(tasks) > 1 and mine in tasks:
            own = each[tasks.index(mine)]
        if value != own:
            return key
    return None


def _split_values(values: Any) -> list[str]:
    """What `one_or_all` has joined; pairs in brackets stay whole."""
    return re.split(r", (?![^(]*\))", str(values))


def protocol_stamp(recipe: Recipe) -> dict[str, Any]:
    """Stream, budget, evaluation and success rule with a hash over them; beside it the formulas.

    Metrics are computed anew from what runs keep, so a formula keeps no two results apart: see
    `changed_formulas`.
    """
    evaluation = recipe.evaluation
    with component_errors("stream", recipe.stream):
        stream = recipe.stream.protocol()
    wrong = None if isinstance(stream, Mapping) else f"{stream!r:.80}"
    refuse_returned("stream", recipe.stream, "protocol", "facts by name", wrong)
    stamp: dict[str, Any] = {
        **stream,
        "steps_per_task": recipe.steps_per_task,
        "evaluate_every": recipe.evaluate_every,
        "episodes": evaluation.episodes,
        "evaluation_episodes": "the same initial states and goals at every evaluation",
        "evaluation_mode": evaluation.mode,
        "evaluation_schedule": evaluation.schedule,
        "success_rule": stream.get("success_rule", f"{evaluation.success} step of the episode"),
        "averaged_evaluations": recipe.averaged_evaluations,
        "threshold": evaluation.threshold,
    }
    if evaluation.return_threshold is not None:
        stamp["return_threshold"] = evaluation.return_threshold
    canonical = json.dumps(stamp, sort_keys=True).encode()
    formulas = {name: metric.formula for name, metric in METRICS.items()}
    return {**stamp, "hash": hashlib.sha256(canonical).hexdigest()[:16], "formulas": formulas}


def changed_formulas(stamps: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Metrics that some run recorded by another formula than today's, and those formulas.

    A metric that a run did not record has been added since, and is no other for that.
    """
    changed: dict[str, list[str]] = {}
    for stamp in stamps:
        for name, formula in stamp.get("formulas", {}).items():
            if name in METRICS and formula not in (METRICS[name].formula, *changed.get(name, [])):
                changed.setdefault(name, []).append(formula)
    return changed


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    releases = {"python": platform.python_version(), "cotasp": __version__}
    return releases | {package: _release(package) for package in _PACKAGES}


@cache  # files are read for it, and no process imports another release than its first
def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
