"""The pool of a Ray cluster, whose nodes need not share a disk.

Each trial is an actor on a node, and the driver holds a conversation with it: it sends what it has
of the trial, asks for news, and fetches the parcels of checkpoints and metrics.  Only the driver
writes to the sweep's directory, and what is there is what any other node goes on from.
"""

from __future__ import annotations

import logging
import shutil
import socket
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cotasp._version import __version__
from cotasp._yaml import parse
from cotasp.errors import RecipeError, RunError
from cotasp.storage.rundir import RunDirectory
from cotasp.sweep.node import CHUNK, News, NodeTrial
from cotasp.sweep.parcels import listing, pack, unpack
from cotasp.sweep.pools import KILLED, need
from cotasp.sweep.trial import PATIENCE, POLL, BusyError, Job, has_begun, lock, note

_GRACE = 60.0  # s without a checkpoint's arrival that trials which are stopped have
_NEWS_EVERY = 2.0  # s
_PATIENCE = 10.0  # s that a cluster may take to answer


@dataclass
class Placed:
    """A trial that was given to the cluster.

    Args:
        job: of the trial.
        actor: handle of its `NodeTrial`.
        talk: the conversation with it, see `RayPool._talk`.
        started: whether it runs, and may be asked to stop.
    """

    job: Job
    actor: Any
    talk: Generator[Any, Any, int] = field(init=False)
    started: bool = False


class RayPool:
    """Trials on the nodes of a Ray cluster.

    Args:
        address, cpus, gpus: as of `cotasp.sweep.launchers.Ray`.
        workers: cores of a cluster on this machine.

    Raises:
        RecipeError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, address: str | None, workers: int, cpus: float, gpus: float) -> None:
        need("ray", "ray")
        import ray

        self.ray = ray
        self.address, self.cpus, self.gpus = address, cpus, gpus
        self.ours = not ray.is_initialized()
        if self.ours:
            _connect(ray, address, workers)
        # a killed worker is our caller's business, which retries from the checkpoint
        self.actors = ray.remote(max_restarts=0, max_task_retries=0)(NodeTrial)
        self.waiting: dict[Any, Placed] = {}  # by the reference of what an actor was asked
        self.arrival = 0.0  # time of the last
        self.warned: set[str] = set()

    def submit(self, job: Job) -> None:
        demand = reserved(job, self.cpus, self.gpus)
        self._check_room(demand)
        actor = self.actors.options(num_cpus=demand["CPU"], num_gpus=demand["GPU"])
        placed = Placed(job, actor.remote(job.name, job.steps))
        placed.talk = self._talk(placed)
        self.waiting[next(placed.talk)] = placed

    def _check_room(self, demand: dict[str, float]) -> None:
        """Warns once where no node is large enough; refuses where none can join."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(all(node.get(k, 0) >= amount for k, amount in demand.items()) for node in nodes):
            return
        wanted = " and ".join(f"{amount:g} {k}" for k, amount in demand.items() if amount)
        text = f"launcher ray: a trial asks for {wanted}, and no node has as many"
        if self.address is None:
            raise RecipeError(f"{text}; ask for less with --cpus or --gpus, or run on a cluster")
        if text not in self.warned:
            self.warned.add(text)
            warnings.warn(f"{text}; it waits until such a node joins", stacklevel=2)

    def _talk(self, placed: Placed) -> Generator[Any, Any, int]:
        """Asks a trial's actor one thing after the other and is sent the answers; its exit code.

        Raises:
            RunError: another process is at work on the trial, or the node is not fit for it.
            OSError: what came cannot be written.
        """
        job, actor, run = placed.job, placed.actor, Path(placed.job.out)
        facts = yield actor.facts.remote()
        if facts["cotasp"] != __version__:
            raise RunError(
                f"node {facts['node']}: expected cotasp {__version__} as on this machine, got "
                f"{facts['cotasp']}; install the same version on every node"
            )
        with ExitStack() as held:
            log = held.enter_context(job.open_log())
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    lock(log, job)
                    break
                except BusyError:
                    if time.monotonic() > until:
                        raise
                time.sleep(POLL)
                yield actor.facts.remote()  # others have their turn meanwhile
            aside = held.enter_context(folder_beside(run))
            locked = has_begun(job)
            if locked:
                held.enter_context(RunDirectory.open(run).locked())
                yield from self._send(actor, run, aside / "parcel.tar")
            _print(log, f"$ on node {facts['node']}\n".encode())
            yield actor.start.remote(Path(job.recipe).read_text(encoding="utf-8"))
            placed.started = True
            while True:
                news: News = yield actor.news.remote(_NEWS_EVERY)
                _print(log, news.log)
                if news.size:
                    yield from self._fetch(actor, news.size, aside / "parcel.tar")
                    unpack(aside / "parcel.tar", run, news.names)
                    if not locked:
                        held.enter_context(RunDirectory.open(run).locked())
                        locked = True
                if news.code is not None:
                    yield actor.clean.remote()
                    return news.code

    def _send(self, actor: Any, run: Path, parcel: Path) -> Generator[Any, Any, None]:
        size = pack(run, listing(run), parcel)
        with open(parcel, "rb") as file:
            while file.tell() < size:
                yield actor.receive.remote(self.ray.put(file.read(CHUNK)))

    def _fetch(self, actor: Any, size: int, parcel: Path) -> Generator[Any, Any, None]:
        with open(parcel, "wb") as file:
            while file.tell() < size:
                file.write((yield actor.fetch.remote(file.tell())))
                self.arrival = time.monotonic()

    def ended(self, timeout: float) -> list[tuple[Job, int]]:
        until = time.monotonic() + timeout
        done: list[tuple[Job, int]] = []
        while self.waiting and not done and (left := until - time.monotonic()) > 0:
            for reference in self.ray.wait(list(self.waiting), timeout=left)[0]:
                placed = self.waiting.pop(reference)
                code = self._go_on(placed, reference)
                if code is not None:
                    self._remove(placed)
                    done.append((placed.job, code))
        return done

    def _go_on(self, placed: Placed, reference: Any) -> int | None:
        """Takes an answer and asks the next thing; the exit code where the trial has ended."""
        try:
            self.waiting[placed.talk.send(self.ray.get(reference))] = placed
            return None
        except StopIteration as end:
            return end.value
        except self.ray.exceptions.RayError as error:
            if _is_loss(self.ray, error):
                return KILLED
            note(placed.job, _explained(error))
        except (OSError, RunError) as error:
            note(placed.job, error)
        return 1

    def _remove(self, placed: Placed) -> None:
        placed.talk.close()
        self.ray.kill(placed.actor)

    def close(self) -> None:
        """Stops what runs; waits as long as checkpoints arrive."""
        try:
            self._stop()
        finally:  # also when a second Ctrl-C ends the waiting
            for placed in self.waiting.values():
                self._remove(placed)
            self.waiting.clear()
            if self.ours:
                self.ray.shutdown()

    def _stop(self) -> None:
        for reference, placed in list(self.waiting.items()):
            if placed.started:
                placed.actor.stop.remote()
            else:
                self._remove(self.waiting.pop(reference))
        self.arrival = time.monotonic()
        while self.waiting and time.monotonic() < self.arrival + _GRACE:
            self.ended(1.0)


def _connect(ray: Any, address: str | None, workers: int) -> None:
    size: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is not None:
            _knock(address)
        ray.init(address=address or "local", **options, **(size if address is None else {}))
    except Exception as error:  # Ray raises its own, and those of what it connects with
        raise RecipeError(f"launcher ray: {address}: cannot be reached: {error}") from error


def _knock(address: str) -> None:
    """Raises OSError where nothing answers at `host:port`, which Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def reserved(job: Job, cpus: float, gpus: float) -> dict[str, float]:
    """The cores and GPUs that a trial reserves, by Ray's names.

    Raises:
        RecipeError: its recipe names a GPU by number, which is for Ray to choose.
    """
    device = parse(Path(job.recipe).read_text(encoding="utf-8"), job.recipe).get("device", "cpu")
    if device.startswith("cuda:"):
        raise RecipeError(
            f"{job.recipe}: device: expected cuda, got {device}; Ray chooses the GPU of a trial"
        )
    return {"CPU": cpus, "GPU": gpus if device == "cuda" else 0.0}


def _is_loss(ray: Any, error: Exception) -> bool:
    """Whether an error tells of a node or worker that is gone, and not of what it ran."""
    lost = ray.exceptions
    if isinstance(error, lost.RayActorError):
        return not error.actor_init_failed
    return isinstance(error, (lost.WorkerCrashedError, lost.NodeDiedError, lost.ObjectLostError))


def _explained(error: Exception) -> Exception:
    """What a trial's actor failed with, and the remedy where it could not even begin."""
    if getattr(error, "actor_init_failed", False):
        needed = f"every node needs cotasp {__version__}, as this machine has, and room in TMPDIR"
        return RunError(f"{str(error).strip()}; {needed}")
    return getattr(error, "cause", None) or error


@contextmanager
def folder_beside(run: Path) -> Iterator[Path]:
    """A hidden folder on the run's disk, for what is under way; one left by a kill is emptied."""
    path = run.with_name(f".{run.name}.arriving")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _print(log: IO[bytes], text: bytes) -> None:
    log.write(text)
    log.flush()
