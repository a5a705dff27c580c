"""Environments in processes of their own; a batch or an evaluation is one round trip.

What a run does with them is, bit for bit, what it does with environments of its own: policy and
random states travel there and back.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase

from cotasp.continual.child import import_path, python
from cotasp.continual.pickling import dumps
from cotasp.continual.randomness import cpu_random_state, set_random_state
from cotasp.continual.score import Score
from cotasp.errors import RunError

_GRACE = 10.0  # s that the process has to close its environments
_SHOWN: dict[Any, Any] = {}  # warnings, as a module's own registry


class EnvironmentProcess:
    """A process that holds the environments of some runs, and simulates for one after the other.

    It has one thread of torch and no GPU.  It ends when it is closed, or when this process has
    ended in whatever way; the terminal's Ctrl-C does not reach it.

    Args:
        runs: how many.

    Attributes:
        links: to it, one for each run.
    """

    def __init__(self, runs: int) -> None:
        pairs = [Pipe() for _ in range(runs)]
        descriptors = [there.fileno() for _, there in pairs]
        self.process = subprocess.Popen(
            python("cotasp.continual.serving", *map(str, descriptors)),
            stdin=subprocess.PIPE,  # never written to: its end says that this process has ended
            pass_fds=descriptors,
            env={**os.environ, "PYTHONPATH": import_path(), "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,
        )
        for _, there in pairs:
            there.close()
        self.links = [Link(self.process, here) for here, _ in pairs]

    def close(self) -> None:
        """Ends the process."""
        for link in self.links:
            link.close()
        if not any(link.asked for link in self.links):
            self.process.kill()  # it has no environments to close, and may still be importing
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()  # type: ignore[union-attr]  # opened as PIPE


class Link:
    """What one run has of the process of its environments.

    Args:
        process: that one.
        connection: to it.

    Attributes:
        asked: whether the process has been asked for anything.
    """

    def __init__(self, process: subprocess.Popen, connection: Connection) -> None:
        self._process = process
        self._connection = connection
        self.asked = False
        # called between question and answer: in lockstep, others ask meanwhile
        self.wait: Callable[[], Any] = lambda: None

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the run's `serving.Environments` returns or raises.

        Python's, NumPy's and torch's random states are those of this process before and after,
        and warnings are given here.

        Raises:
            RunError: an argument cannot be sent, or the process has ended.
        """
        try:
            request = dumps((method, arguments, cpu_random_state()))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RunError(
                f"environments and policies must be picklable to be simulated in another process: "
                f"{error}; define it at the top of a module, or use --simulators 0"
            ) from error
        self.asked = True
        try:
            self._connection.send_bytes(request)
            self.wait()
            reply = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise RunError(
                f"the process of the environments {self._end()}; `cotasp resume` goes on from the "
                f"last checkpoint"
            ) from error
        random, messages, result, error, where = pickle.loads(reply)  # type: ignore[misc]  # none caught above
        set_random_state(random)
        for text, category, file, line in messages:
            warnings.warn_explicit(text, category, file, line, registry=_SHOWN)
        if error is not None:
            raise error from RuntimeError(f"in the process of the environments:\n{where}")
        return result

    def _end(self) -> str:
        """How the process ended, for messages."""
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "does not answer"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"

    def close(self) -> None:
        """Hangs up; the run's environments are closed."""
        self._connection.close()


class RemoteCollection:
    """A `Collection` whose environment is in another process.

    Args:
        link: to it.
        make_env: makes the environment; picklable.
        policy: as for `Collection`.  It is sent with every batch, weights included, and its
            `state_dict()` comes back: it holds what the policy remembers from step to step.
        task, action_repeat, faults, seed: as for `Collection`.

    Raises:
        RunError: see `Link.call`.
    """

    def __init__(
        self,
        link: Link,
        make_env: Callable[[], EnvBase],
        policy: TensorDictModuleBase,
        task: str,
        action_repeat: int,
        faults: str,
        seed: int,
    ) -> None:
        self.link = link
        self.policy = policy
        self.task = task
        self.steps = 0
        self.faults = 0
        link.call("begin_task", make_env, task, action_repeat, faults, seed)

    def collect(self, steps: int) -> TensorDictBase:
        """See `Collection.collect`."""
        data, state, self.steps, self.faults = self.link.call("collect", self.policy, steps)
        self.policy.load_state_dict(state)
        return data

    def state_dict(self) -> dict[str, Any]:
        """See `Collection.state_dict`."""
        return self.link.call("state_dict")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Collection.load_state_dict`."""
        self.link.call("load_state_dict", state)
        self.steps, self.faults = int(state["steps"]), int(state["faults"])

    def close(self) -> None:
        """Does nothing: the environment is closed when the next task's is made, or with the link,
        so that a run can end while the process is busy or gone.
        """


class RemoteEvaluator:
    """An `Evaluator` whose environments are in another process.

    Args:
        link: to it.
        settings: what `Evaluator` takes.

    Raises:
        RunError: see `Link.call`.
    """

    def __init__(self, link: Link, *settings: Any) -> None:
        self.link = link
        link.call("begin_evaluations", *settings)

    def __call__(self, task: int, policy: TensorDictModuleBase) -> Score:
        """See `Evaluator.__call__`."""
        return self.link.call("evaluate", task, policy)

    def close(self) -> None:
        """Does nothing: the environments are closed with the link."""


@contextmanager
def environment_links(runs: int, processes: int) -> Iterator[list[Link | None]]:
    """A link for each of several runs; inside the block there are the processes.

    Args:
        runs: at least 1.
        processes: that they share; more than there are runs are not started.  With 0 there are no
            links, and each run has its environments itself.
    """
    links: list[Link | None] = [None] * runs
    processes = min(processes, runs)
    with ExitStack() as stack:
        for i in range(processes):
            process = EnvironmentProcess(len(links[i::processes]))
            stack.callback(process.close)
            links[i::processes] = process.links
        for link in filter(None, links):
            stack.callback(link.close)  # before the first process is waited for
        yield links
