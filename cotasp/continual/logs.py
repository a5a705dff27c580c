"""What a run tells while it runs: metric files and a progress bar."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensordict import TensorDictBase
from torchrl.record import CSVLogger
from torchrl.record.loggers import Logger

from cotasp.continual.bar import progress_bar, write_above
from cotasp.continual.score import Score
from cotasp.errors import RunError
from cotasp.recipe import Recipe
from cotasp.storage.rundir import writing

EVERY = 1000  # environment steps between two values of a training curve


def _extra_logger(name: str, path: Path) -> list[Logger]:
    if name == "csv":
        return []
    if name == "tensorboard":
        from torchrl.record import TensorboardLogger

        return [TensorboardLogger(exp_name="tensorboard", log_dir=str(path))]
    from torchrl.record import WandbLogger

    return [WandbLogger(exp_name=path.name, project="cotasp", save_dir=str(path))]


def metrics_files(path: Path) -> list[Path]:
    """The files of a run directory to which metrics are appended."""
    folders = (path / "metrics", path / "tensorboard")
    return sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())


def cut_metrics(path: Path, lengths: Mapping[str, int]) -> None:
    """Takes back what was logged after `Logs.lengths` gave these; no line is lost or doubled.

    Raises:
        RunError: a file is shorter than it was, or cannot be cut.
    """
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in metrics_files(path)}
    for name, length in lengths.items():
        if sizes.get(name, 0) < length:
            raise RunError(f"{path / name}: expected at least {length} bytes; lines are missing")
    for name in sizes:
        with writing(path / name, path):
            if name in lengths:
                os.truncate(path / name, lengths[name])
            else:
                (path / name).unlink()


class Logs:
    """Writes curves through TorchRL's loggers, always as CSV, and draws the progress bar.

    Args:
        path: run directory; curves go to `metrics/scalars/**/*.csv`, lines of `step,value`.
            Those under `timing` tell how fast it went; all others are the same for equal runs.
        recipe: of the run.
        n_tasks: tasks of the stream.
        progress: whether to draw the bar.
        done: environment steps of all tasks that were taken before.
    """

    def __init__(
        self, path: Path, recipe: Recipe, n_tasks: int, progress: bool, done: int = 0
    ) -> None:
        self.path = path
        self.recipe = recipe
        self.loggers = [
            CSVLogger("metrics", log_dir=str(path)),
            *_extra_logger(recipe.logger, path),
        ]
        self.bar = progress_bar(recipe.steps_per_task * n_tasks, shown=progress, done=done)
        self.last = time.time(), 0
        self.done = done
        self.n_tasks = n_tasks
        self.offset = 0
        self.success: dict[str, float] = {}
        self._synced: dict[str, int] = {}  # sizes of files that are on the disk

    def begin_task(self, index: int, name: str, steps: int) -> None:
        """Announces a task, of which some steps may have been taken before a stop."""
        self.offset = index * self.recipe.steps_per_task
        done = self.offset + steps
        self.last = time.time(), done
        self.bar.set_description(f"task {index + 1}/{self.n_tasks} {name}", refresh=False)

    def consolidating(self, made: int, due: int) -> None:
        """Shows how many updates at the task's end are made, of how many."""
        self.bar.set_postfix_str(f"at its end: update {made:,} of {due:,}", refresh=False)
        self.bar.update(0)

    def facts(self, task: str, values: Mapping[str, float | None]) -> None:
        """Logs what the learner tells of a task once it has ended."""
        at = self.offset + self.recipe.steps_per_task
        self._log({f"tasks/{task}/{k}": v for k, v in values.items()}, at)

    def step(self, steps: int, data: TensorDictBase, losses: dict[str, Any]) -> None:
        """Notes one collected batch; logs a value of each curve now and then."""
        taken = self.offset + steps - self.done
        self.done += taken
        self.bar.update(taken)
        if losses and steps % EVERY < taken:
            values = {name: float(value) for name, value in losses.items()}
            values["reward"] = float(data["next", "reward"].sum()) / taken
            at = self.offset + steps
            self._log({f"train/{k}": v for k, v in values.items()}, at)
            now, (before, last) = time.time(), self.last
            self._log({"timing/steps_per_second": (at - last) / max(now - before, 1e-9)}, at)
            self.last = now, at

    def evaluation(self, index: int, steps: int, scores: dict[str, Score]) -> None:
        """Logs and shows the scores of an evaluation by task name."""
        at = self.offset + steps
        for name, score in scores.items():
            self._log({f"evaluation/{name}/{k}": v for k, v in score._asdict().items()}, at)
        self.success |= {name: score.success for name, score in scores.items()}
        shown = ", ".join(f"{name} {value:.2f}" for name, value in self.success.items())
        self.bar.set_postfix_str(f"success: {shown}", refresh=False)
        if not self.bar.disable:
            now = ", ".join(f"{name} {score.success:.2f}" for name, score in scores.items())
            write_above(self.bar, f"task {index + 1}, step {steps:>7,}: success {now}")

    def _log(self, values: Mapping[str, float | None], step: int) -> None:
        with writing(self.path / "metrics", self.path):
            for logger in self.loggers:
                for name, value in values.items():
                    if value is not None and math.isfinite(value):
                        logger.log_scalar(name, value, step=step)

    def lengths(self) -> dict[str, int]:
        """Bytes of every metrics file, by its path in the run directory; all are on the disk."""
        with writing(self.path / "metrics", self.path):
            return self._lengths()

    def _lengths(self) -> dict[str, int]:
        for logger in self.loggers:
            flush = getattr(logger.experiment, "flush", None)
            if flush is not None:
                flush()
        found = {}
        for file in metrics_files(self.path):
            name, size = file.relative_to(self.path).as_posix(), file.stat().st_size
            if self._synced.get(name) != size:
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
            found[name] = size
        self._synced = found
        return found

    def close(self) -> None:
        """Ends the progress bar and closes the files."""
        self.bar.close()
        for logger in self.loggers:
            logger.close()
        self.loggers.clear()
