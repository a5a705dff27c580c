"""The pools that launchers open, but for Ray's."""

from __future__ import annotations

import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cotasp.errors import RecipeError, RunError
from cotasp.sweep.fork_server import ForkedTrial, ForkServer
from cotasp.sweep.trial import KILLED, PATIENCE, POLL, BusyError, Job, execute, note

_GRACE = 60.0  # s that trials which are stopped have for a checkpoint


def need(package: str, extra: str) -> None:
    """Raises RecipeError where a package is not installed."""
    if find_spec(package) is None:
        raise RecipeError(
            f'launcher: {package} is not installed; pip install "cotasp[{extra}]", '
            f"or use --launcher local"
        )


class LocalPool:
    """Processes on this machine.

    Args:
        workers: processes side by side.
        stacked: whether trials that lie in one directory, a variant's seeds, share a process.
        simulators: further processes that simulate for these seeds.
    """

    def __init__(self, workers: int, stacked: bool = False, simulators: int = 0) -> None:
        self.workers = workers
        self.stacked = stacked
        self.simulators = simulators
        self.waiting: dict[Path, list[Job]] = {}
        self.running: dict[tuple[Job, ...], ForkedTrial | subprocess.Popen] = {}
        self.server = ForkServer()
        self.refused: list[Job] = []
        self.busy: dict[Path, float] = {}  # since when another process is at work there

    def submit(self, job: Job) -> None:
        out = Path(job.out)
        self.waiting.setdefault(out.parent if self.stacked else out, []).append(job)

    def _fill(self) -> None:
        """Starts what there is room for; trials of another process wait, and let others begin."""
        for place, jobs in list(self.waiting.items()):
            if len(self.running) >= self.workers:
                return
            try:
                self.running[tuple(jobs)] = self.server.start(*jobs, simulators=self.simulators)
            except (OSError, RunError) as error:
                since = self.busy.setdefault(place, time.monotonic())
                if isinstance(error, BusyError) and time.monotonic() < since + PATIENCE:
                    continue
                for job in jobs:
                    note(job, error)
                self.refused += jobs
            self.busy.pop(place, None)
            del self.waiting[place]

    def ended(self, timeout: float) -> list[tuple[Job, int]]:
        until = time.monotonic() + timeout
        while True:
            self._fill()
            ended = {
                jobs: code for jobs, p in self.running.items() if (code := p.poll()) is not None
            }
            for jobs in ended:
                del self.running[jobs]
            done = [(job, code) for jobs, code in ended.items() for job in jobs]
            done += [(job, 1) for job in self.refused]
            self.refused.clear()
            if done or time.monotonic() >= until:
                return done
            time.sleep(POLL)

    def close(self) -> None:
        self.waiting.clear()
        until = time.monotonic() + _GRACE
        try:
            for process in self.running.values():
                process.terminate()
            while any(p.poll() is None for p in self.running.values()) and time.monotonic() < until:
                time.sleep(POLL)
        finally:  # also when a second Ctrl-C ends the waiting
            for process in self.running.values():
                process.kill()
                process.wait()
            self.running.clear()
            self.server.close()


class SlurmPool:
    """Jobs of a Slurm cluster.

    Args:
        cluster, partition, minutes, cpus, folder: as of `cotasp.sweep.launchers.Slurm`.
    """

    def __init__(
        self, cluster: str, partition: str | None, minutes: int, cpus: int, folder: str
    ) -> None:
        need("submitit", "slurm")
        import submitit

        self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        options: dict[str, Any] = {
            "timeout_min": minutes,
            "cpus_per_task": cpus,
            "name": "cotasp",
        }
        if partition is not None:
            options["slurm_partition"] = partition
        self.executor.update_parameters(**options)
        self.jobs: list[tuple[Any, Job]] = []

    def submit(self, job: Job) -> None:
        self.jobs.append((self.executor.submit(execute, job), job))

    def ended(self, timeout: float) -> list[tuple[Job, int]]:
        until = time.monotonic() + timeout
        while True:
            done = [(handle, job) for handle, job in self.jobs if handle.done()]
            if done or not self.jobs or time.monotonic() >= until:
                break
            time.sleep(POLL)
        self.jobs = [pair for pair in self.jobs if pair not in done]
        return [(job, self._code(handle, job)) for handle, job in done]

    @staticmethod
    def _code(handle: Any, job: Job) -> int:
        import submitit

        try:
            return handle.result()
        except submitit.core.utils.FailedJobError as error:
            note(job, error)
            return 1
        except submitit.core.utils.UncompletedJobError:  # it left no result: it was killed
            return KILLED

    def close(self) -> None:
        for handle, _ in self.jobs:
            handle.cancel()
        self.jobs.clear()
