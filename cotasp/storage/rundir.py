"""The run directory: recipe, stamp, metrics, checkpoints, summary, and whose turn it is."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from cotasp.errors import RunError
from cotasp.storage.disk import following_no_link, sync_directory, sync_tree, write_whole
from cotasp.storage.readme import README, readme
from cotasp.storage.summary import damage, stamp_damage
from cotasp.targets import check_writable

RECIPE = "recipe.yaml"
STAMP = "protocol.json"
SUMMARY = "summary.json"
EVALUATIONS = "evaluations.json"
METRICS = "metrics.csv"  # every number that was logged, one a row
EPISODES = "episodes.csv"  # of training, one a row
SPEED = "timing.csv"
TIMING = "timing.json"  # what it cost; this and `SPEED` alone differ between equal runs
GROWING = (METRICS, EPISODES, SPEED, "tensorboard")  # appended to, and cut when resumed
_ENDED = {"performance", "per_task", "success_last"}  # what every summary tells
SWEEP = "sweep.json"  # of a directory above those of runs: which trial is where
LOCK = ".lock"
_MOST_THREADS = 1024  # that a stamp can ask for
_CHANGED = (*GROWING, "checkpoints", LOCK)  # shortened or removed when resumed


def write_json(path: Path, value: Any) -> None:
    """Writes a file that is either whole or as it was."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file that is either whole or as it was."""
    write_whole(path, text.encode())


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        FileNotFoundError: there is none.
        RunError: it cannot be read, or is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, cannot be read: {error}") from error


@contextmanager
def writing(path: Path, run: Path) -> Iterator[None]:
    """Tells an OSError inside as a file of the run that cannot be written, and how to go on."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written to: {error.strerror or error}; when that is mended, "
            f"`cotasp resume {run}` goes on from the last checkpoint"
        ) from error


def _as_path(path: str | Path) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise RunError(f"run directory: expected a path, got {path!r:.80}; name a directory")
    return Path(path)


def _refuse_file(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: expected a directory or nothing there, found a file")


class RunDirectory:
    """Where a run keeps what it produces.

    Args:
        path: the directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _as_path(path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        recipe: str,
        facts: dict[str, Any],
        fill: Callable[[Path], None] = lambda making: None,
    ) -> RunDirectory:
        """A new run directory holding the resolved recipe, the protocol stamp and a README.

        It appears with all that it begins with, or not at all.

        Args:
            recipe: YAML, every default written out.
            facts: written to `protocol.json`.
            fill: puts into the directory what else the run begins with.

        Raises:
            RunError: the directory exists and is not empty, or cannot be made.
        """
        cls.check_free(path)
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # an empty directory stays the one it is: it may be where someone stands, or a link
            place = path if path.is_dir() else path.parent
            with tempfile.TemporaryDirectory(dir=place, prefix=".making.") as aside:
                making = Path(aside) / "run"
                making.mkdir()
                write_text(making / RECIPE, recipe)
                write_json(making / STAMP, facts)
                write_text(making / README, readme(path))
                fill(making)
                sync_tree(making)
                if place == path:  # the recipe last: it makes a directory one of a run
                    for entry in sorted(making.iterdir(), key=lambda entry: entry.name == RECIPE):
                        os.rename(entry, path / entry.name)
                else:
                    os.rename(making, path)
            sync_directory(place)
        except OSError as error:
            raise RunError(f"{path}: cannot make the run directory: {error.strerror}") from error
        return cls(path)

    def discard(self, keep_folder: bool) -> None:
        """Removes all that it holds.

        Args:
            keep_folder: whether the directory itself stays, because it was there before the run.
        """
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not keep_folder:
            self.path.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from working on this run, for as long as this one lives.

        Raises:
            RunError: another process is at work here, or nothing can be locked or written here.
        """
        with ExitStack() as stack:
            try:
                path = self.path / LOCK
                file = stack.enter_context(open(path, "a+", opener=following_no_link))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            except BlockingIOError as error:
                file.seek(0)
                raise RunError(
                    f"{self.path}: process {file.read().strip() or 'unknown'} is at work on this "
                    f"run; wait for it or stop it"
                ) from error
            except OSError as error:
                raise RunError(
                    f"{self.path}: cannot be locked: {error.strerror}; keep runs where files can "
                    f"be written and locked"
                ) from error
            yield

    @staticmethod
    def check_no_run(path: str | Path) -> None:
        """Raises RunError where files of a run would be written over, or a file is in the way."""
        path = Path(path)
        if (path / RECIPE).is_file():
            raise RunError(
                f"{path}: holds a run, whose files would be lost; choose another directory with "
                f"--out, as {path / 'report'}"
            )
        _refuse_file(path)

    @staticmethod
    def check_free(path: str | Path) -> None:
        """Raises RunError when something is there already."""
        path = _as_path(path)
        if (path / RECIPE).is_file():
            raise RunError(
                f"{path}: there is a run already; go on with it by `cotasp resume {path}`, choose "
                f"another directory with --out, or remove it"
            )
        if path.is_dir() and any(path.iterdir()):
            raise RunError(
                f"{path}: the run directory exists and is not empty; "
                f"choose another with --out, or remove it"
            )
        _refuse_file(path)
        check_writable(path)

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """An existing run directory.

        Raises:
            RunError: there is none, it holds no recipe, or links lead out of it.
        """
        run = cls(path)
        if run.path.is_file():
            raise RunError(f"{run.path}: expected the directory of a run, found a file")
        if not run.path.is_dir():
            raise RunError(f"{run.path}: no such directory; check the path")
        if not (run.path / RECIPE).is_file():
            raise RunError(f"{run.path}: holds no run; name a directory with a {RECIPE} in it")
        run.refuse_links()
        return run

    def refuse_links(self) -> None:
        """Raises RunError where links lead out of it: files are shortened and removed here, and
        what a link leads to must not be.
        """

        def fail(error: OSError) -> None:
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                path = error.filename
                raise RunError(f"{path}: cannot be read: {error.strerror}") from error

        for top in (self.path / name for name in _CHANGED):
            walk = os.walk(top, onerror=fail)
            for path in (top, *(Path(folder, n) for folder, *names in walk for n in chain(*names))):
                if path.is_symlink():
                    raise RunError(
                        f"{path}: expected files of the run, found a symbolic link; put what it "
                        f"leads to in its place if you trust it"
                    )

    @property
    def recipe(self) -> Path:
        """The file of the resolved recipe."""
        return self.path / RECIPE

    def again(self) -> str:
        """The command that does the run once more, for messages."""
        return f"run it again: cotasp run {self.recipe} --out NEW"

    def summary(self) -> dict[str, Any] | None:
        """What the run ended with; None where it has not, or where the file is damaged.

        Raises:
            RunError: it cannot be read.
        """
        try:
            summary = read_json(self.path / SUMMARY)
        except FileNotFoundError:
            return None
        except RunError as error:
            if isinstance(error.__cause__, OSError):
                raise
            return None
        return None if damage(summary) or not summary.keys() >= _ENDED else summary

    def results(self) -> dict[str, Any]:
        """What the run ended with, fit for tables, figures and metrics.

        Raises:
            RunError: it has not ended, or the file is damaged.
        """
        summary = self.read(SUMMARY)
        wrong = damage(summary)
        if wrong is not None:
            raise RunError(
                f"{self.path / SUMMARY}: damaged: {wrong}; `cotasp resume {self.path}` writes it "
                f"anew from the last checkpoint"
            )
        return summary

    def seconds(self) -> float | None:
        """Wall time that the run took, s; None where nothing readable tells."""
        with suppress(OSError, RunError):
            timing = read_json(self.path / TIMING)
            seconds = timing.get("wall_seconds") if isinstance(timing, dict) else None
            if isinstance(seconds, (int, float)) and 0 <= seconds < 1e300:
                return float(seconds)
        return None

    def stamp(self) -> dict[str, Any]:
        """What the run began with.

        Raises:
            RunError: it is not there or damaged.
        """
        stamp = self.read(STAMP)
        wrong = stamp_damage(stamp)
        if wrong is not None:
            raise RunError(
                f"{self.path / STAMP}: damaged, {wrong}: what the run began with is not known; put "
                f"the file back, or {self.again()}"
            )
        return stamp

    def threads(self) -> int:
        """Of torch when the run began; 1 where the stamp does not say."""
        threads = self.stamp().get("threads")
        return threads if type(threads) is int and 1 <= threads <= _MOST_THREADS else 1

    def read(self, name: str) -> Any:
        """A JSON file of the run.

        Raises:
            RunError: missing or damaged.
        """
        path = self.path / name
        try:
            return read_json(path)
        except FileNotFoundError as error:
            lost = f"a run begins with it: put it back, or {self.again()}"
            why = lost if name == STAMP else "has the run ended?"
            raise RunError(f"{path}: not there; {why}") from error

    def write(self, name: str, value: Any) -> None:
        """Writes a JSON file of the run, whole or not at all.

        Raises:
            RunError: it cannot be written.
        """
        with writing(self.path / name, self.path):
            write_json(self.path / name, value)
