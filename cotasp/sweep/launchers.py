"""Where trials run: launchers by name.

A launcher opens a pool; a pool takes jobs and tells of those that have ended.  It knows nothing
of retries, progress or results, so placing trials elsewhere is all that a new launcher writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.methods.stackable import not_stackable
from cotasp.ranges import Count, Natural, Positive

if TYPE_CHECKING:
    from cotasp.recipe import Recipe
    from cotasp.sweep.trial import Job


class Pool(Protocol):
    """Runs jobs side by side."""

    def submit(self, job: Job) -> None:
        """Takes a job; it begins when there is room."""
        ...

    def ended(self, timeout: float) -> Iterable[tuple[Job, int]]:
        """Jobs that have ended since the last call, with exit codes; waits at most `timeout` s.

        A job that could not be started has ended with 1, and its log says why.
        An exit code below 0 says that the job was killed and may be tried again.
        """
        ...

    def close(self) -> None:
        """Ends what still runs."""
        ...


@runtime_checkable
class Launcher(Protocol):
    """Opens pools of workers."""

    def open(self) -> Pool:
        """A pool without jobs.

        Raises:
            RecipeError: the launcher's package is missing or its workers cannot be reached.
        """
        ...


def cores() -> int:
    """Processor cores that this process may use."""
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count else os.cpu_count() or 1


@dataclass(frozen=True)
class Local:
    """Processes on this machine, one thread each.

    Args:
        workers: side by side; None: as many as there are cores.
    """

    workers: Count | None = None

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Pool:
        from cotasp.sweep.pools import LocalPool

        return LocalPool(self.workers or cores())


@runtime_checkable
class ChecksRecipes(Protocol):
    """A launcher that cannot run every recipe."""

    def check_recipe(self, recipe: Recipe) -> None:
        """Raises RecipeError for one that it cannot; nothing has been written."""
        ...


@dataclass(frozen=True)
class Stacked:
    """A process per variant on this machine, its seeds' updates computed together: for a GPU.

    The seeds' results are those of single runs up to the rounding of sums.  Their environments are
    stepped, in training and evaluation, by further processes at the same time; stacking costs a
    few updates' time per collected batch.  A seed's `timing.json` has the time and memory of the
    whole process, without its simulators'.

    Args:
        workers: variants side by side.
        simulators: processes of each variant that step its seeds' environments, at most one for
            each seed; None: the cores, divided among the variants side by side; 0: none, and the
            environments are stepped one after the other.
    """

    workers: Count = 1
    simulators: Natural | None = None

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Pool:
        from cotasp.sweep.pools import LocalPool

        shared = max(1, cores() // self.workers) if self.simulators is None else self.simulators
        return LocalPool(self.workers, stacked=True, simulators=shared)

    def check_recipe(self, recipe: Recipe) -> None:
        """Every component must be one whose steps can be computed together, and the logger one
        that follows several runs.
        """
        cannot = not_stackable(recipe.method)
        if cannot is not None:
            raise RecipeError(
                f"{cannot} cannot be computed together with other learners' updates; run with "
                f"--launcher local"
            )
        if recipe.logger in ("mlflow", "wandb"):  # which have one run per process
            raise RecipeError(
                f"logger: {recipe.logger} cannot follow several runs of one process; use "
                f"logger=tensorboard, or run with --launcher local"
            )


@dataclass(frozen=True)
class Ray:
    """Trials on the nodes of a Ray cluster, which need share no disk.

    A trial's recipe goes to a node, and its checkpoints, metrics and results come back.

    Args:
        address: of the cluster, e.g. `auto` or `ray://head:10001`; None: one on this machine.
        workers: cores of the cluster on this machine; None: as many as there are.
        cpus: cores that a trial reserves.
        gpus: GPUs that a trial reserves where its device is cuda; 0.5: two trials share one.
    """

    address: str | None = None
    workers: Count | None = None
    cpus: Positive = 1.0
    gpus: float = 1.0

    def __post_init__(self):
        check_fields(self)
        if self.gpus <= 0 or (self.gpus > 1 and self.gpus % 1):
            raise RecipeError(
                f"Ray.gpus: expected a fraction above 0, or a whole number, got {self.gpus}"
            )

    def open(self) -> Pool:
        from cotasp.sweep.ray_pool import RayPool

        return RayPool(self.address, self.workers or cores(), self.cpus, self.gpus)


@dataclass(frozen=True)
class Slurm:
    """Jobs of a Slurm cluster, through submitit; nodes share the file system.

    Args:
        cluster: `slurm`, or `local` for processes that behave like its jobs.
        partition: of the jobs; None: the cluster's default.
        minutes: that a trial may take.
        cpus: cores per trial.
        folder: of submitit's own files.
    """

    cluster: str = "slurm"
    partition: str | None = None
    minutes: Count = 24 * 60
    cpus: Count = 1
    folder: str = "runs/slurm"

    def __post_init__(self):
        check_fields(self)
        if self.cluster not in ("slurm", "local"):
            raise RecipeError(f"Slurm.cluster: expected slurm or local, got {self.cluster!r}")

    def open(self) -> Pool:
        from cotasp.sweep.pools import SlurmPool

        return SlurmPool(self.cluster, self.partition, self.minutes, self.cpus, self.folder)
