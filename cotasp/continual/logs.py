"""What a run tells while it runs: metric files and a progress bar."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensordict import TensorDictBase

from cotasp.continual.bar import progress_bar, write_above
from cotasp.continual.episodes import TrainingEpisode
from cotasp.continual.score import Score
from cotasp.recipe import Recipe
from cotasp.storage.rundir import EPISODES, GROWING, METRICS, SPEED, writing
from cotasp.storage.tables import CsvFile

if TYPE_CHECKING:
    from torchrl.record.loggers import Logger

EVERY = 1000  # environment steps between two values of a training curve
COLUMNS = ("step", "task", "name", "value")
EPISODE_COLUMNS = ("task", "step", "return", "length", "success")


def _loggers(name: str, path: Path) -> list[Logger]:
    """TorchRL's logger of that name."""
    if name == "csv":
        return []
    if name == "tensorboard":
        from torchrl.record import TensorboardLogger

        return [TensorboardLogger(exp_name="tensorboard", log_dir=str(path))]
    if name == "mlflow":
        from cotasp.continual.mlflow_logger import MLflow

        return [MLflow(path)]
    from torchrl.record import WandbLogger

    return [WandbLogger(exp_name=path.name, project="cotasp", save_dir=str(path))]


def metrics_files(path: Path) -> list[Path]:
    """The files of a run directory to which metrics are appended."""
    candidates = (each for name in GROWING for each in (path / name, *(path / name).rglob("*")))
    return sorted(file for file in candidates if file.is_file())


def cut_metrics(path: Path, lengths: Mapping[str, int]) -> None:
    """Takes back what was logged after `Logs.lengths` gave these; no line is lost or doubled.

    What is missing, because somebody removed a file, nothing can bring back, and no result needs.

    Raises:
        RunError: a file cannot be cut.
    """
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in metrics_files(path)}
    for name, length in lengths.items():
        if sizes.get(name, 0) < length:
            warnings.warn(
                f"{path / name}: expected {length} bytes, found {sizes.get(name, 0)}; what is "
                f"missing stays so, and the run goes on",
                stacklevel=2,
            )
    for name, size in sizes.items():
        with writing(path / name, path):
            if name in lengths:
                short = size < lengths[name] and name.endswith(".csv")
                keep = _whole_lines(path / name) if short else min(size, lengths[name])
                os.truncate(path / name, keep)
            else:
                (path / name).unlink()


def _whole_lines(file: Path) -> int:
    """How many bytes of a file are lines that end."""
    return file.read_bytes().rfind(b"\n") + 1


class Logs:
    """Writes what a run measures, as CSV and to a logger of TorchRL's, and draws the progress bar.

    Steps are of the environment, counted over all tasks.  All files but `timing.csv`, which tells
    how fast it went, are the same for equal runs.

    Args:
        path: run directory, where `metrics.csv`, `episodes.csv` and `timing.csv` are.
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
        self.loggers = _loggers(recipe.logger, path)
        with writing(path / METRICS, path):
            self.metrics = CsvFile(path / METRICS, COLUMNS)
            self.episode_log = CsvFile(path / EPISODES, EPISODE_COLUMNS)
            self.speed = CsvFile(path / SPEED, COLUMNS)
        self.bar = progress_bar(recipe.steps_per_task * n_tasks, visible=progress, done=done)
        self.last = time.time(), 0
        self.done = done
        self.n_tasks = n_tasks
        self.task, self.offset = "", 0  # of the one in training
        self.success: dict[str, float] = {}
        self._synced: dict[str, int] = {}  # sizes of files that are on the disk

    def begin_task(self, index: int, name: str, steps: int) -> None:
        """Announces a task, of which some steps may have been taken before, or are not to be."""
        self.task, self.offset = name, index * self.recipe.steps_per_task
        self._advance(steps)
        self.last = time.time(), self.done
        self.bar.set_description(f"task {index + 1}/{self.n_tasks} {name}", refresh=False)

    def consolidating(self, updates: int, due: int) -> None:
        """Shows how many updates at the task's end are made, of how many."""
        self.bar.set_postfix_str(f"at its end: update {updates:,} of {due:,}", refresh=False)
        self.bar.update(0)

    def facts(self, task: str, values: Mapping[str, float | None], steps: int) -> None:
        """Logs what the learner tells of a lesson, once it has ended, under its first task.

        Args:
            task: the name.
            values: what is told.
            steps: of the lesson.
        """
        at = self.offset + steps
        self._log("facts", task, values, at)

    def episodes(self, ended: Iterable[TrainingEpisode]) -> None:
        """Logs episodes that training has ended, of what was announced."""
        rows = [(each.task, self.offset + each.step, *each[2:]) for each in ended]
        if rows:
            with writing(self.path / EPISODES, self.path):
                self.episode_log.append(rows)

    def step(self, steps: int, data: TensorDictBase, losses: dict[str, Any]) -> None:
        """Notes one collected batch; logs a value of each curve now and then."""
        taken = self._advance(steps)
        if losses and steps % EVERY < taken:
            values = {name: float(value) for name, value in losses.items()}
            values["reward"] = float(data["next", "reward"].sum()) / taken
            at = self.offset + steps
            self._log("train", self.task, values, at)
            now, (before, last) = time.time(), self.last
            rate = (at - last) / max(now - before, 1e-9)
            with writing(self.path / SPEED, self.path):
                self.speed.append([(at, self.task, "timing/steps_per_second", rate)])
            self._tell("timing/steps_per_second", rate, at)
            self.last = now, at

    def evaluation(self, index: int, steps: int, scores: dict[str, Score]) -> None:
        """Logs and shows the scores of an evaluation by task name."""
        at = self.offset + steps
        for name, score in scores.items():
            self._log("evaluation", name, score._asdict(), at)
        self.success |= {name: score.success for name, score in scores.items()}
        postfix = ", ".join(f"{name} {value:.2f}" for name, value in self.success.items())
        self.bar.set_postfix_str(f"success: {postfix}", refresh=False)
        if not self.bar.disable:
            now = ", ".join(f"{name} {score.success:.2f}" for name, score in scores.items())
            write_above(self.bar, f"task {index + 1}, step {steps:>7,}: success {now}")

    def _advance(self, steps: int) -> int:
        """Moves the bar to so many steps of the task in training; how many more they are."""
        taken = self.offset + steps - self.done
        self.done += taken
        self.bar.update(taken)
        return taken

    def _log(self, group: str, task: str, values: Mapping[str, float | None], step: int) -> None:
        """Logs numbers that are finite."""
        known = {k: float(v) for k, v in values.items() if v is not None and math.isfinite(v)}
        with writing(self.path / METRICS, self.path):
            self.metrics.append((step, task, f"{group}/{k}", v) for k, v in known.items())
        for name, value in known.items():  # one curve of training over all tasks
            self._tell("/".join((group, *[task] * (group != "train"), name)), value, step)

    def _tell(self, name: str, value: float, step: int) -> None:
        with writing(self.path, self.path):
            for logger in self.loggers:
                logger.log_scalar(name, value, step=step)

    def lengths(self) -> dict[str, int]:
        """Bytes of every metrics file, by its path in the run directory; all are on the disk."""
        with writing(self.path / METRICS, self.path):
            return self._lengths()

    def _lengths(self) -> dict[str, int]:
        for logger in self.loggers:
            flush = getattr(logger.experiment, "flush", None)
            if flush is not None:
                flush()
        sizes = {}
        for file in metrics_files(self.path):
            name, size = file.relative_to(self.path).as_posix(), file.stat().st_size
            if self._synced.get(name) != size:
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
            sizes[name] = size
        self._synced = sizes
        return sizes

    def close(self) -> None:
        """Ends the progress bar and closes the files."""
        self.bar.close()
        for logger in self.loggers:
            logger.close()
        self.loggers.clear()
