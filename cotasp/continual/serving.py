"""What the process of some runs' environments does: `python -m cotasp.continual.serving FD...`.

`EnvironmentProcess` starts it, with a connection for each run.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torchrl.envs import EnvBase

from cotasp.continual.collection import Collection
from cotasp.continual.evaluation import Evaluator
from cotasp.continual.pickling import dumps
from cotasp.continual.randomness import cpu_random_state, set_random_state
from cotasp.continual.score import Score
from cotasp.continual.stopping import SIGNALS
from cotasp.errors import RunError


class Environments:
    """One run's environments: those of the task in training and of evaluations."""

    def __init__(self) -> None:
        self.collection: Collection | None = None
        self.evaluator: Evaluator | None = None

    @property
    def training(self) -> Collection:
        """The environment of the task in training."""
        if self.collection is None:
            raise RunError("the process of the environments knows of no task in training")
        return self.collection

    def begin_task(self, make_env: Callable[[], EnvBase], *settings: Any) -> None:
        """Makes the environment of a task, in the place of the last one's.

        Args:
            make_env: of it.
            settings: as `Collection` takes them after the policy.
        """
        if self.collection is not None:
            self.collection.close()
        self.collection = Collection(make_env(), None, *settings)

    def collect(
        self, policy: TensorDictModuleBase, steps: int
    ) -> tuple[TensorDictBase, dict[str, Any], int, int]:
        """Transitions as `Collection.collect` gives them, the state of the policy after these, and
        steps and faults of the task so far.
        """
        training = self.training
        training.policy = policy
        data = training.collect(steps)
        return data, policy.state_dict(), training.steps, training.faults

    def state_dict(self) -> dict[str, Any]:
        """Where the task's environment stands."""
        return self.training.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.training.load_state_dict(state)

    def begin_evaluations(self, *settings: Any) -> None:
        """Takes what `Evaluator` takes."""
        self.evaluator = Evaluator(*settings)

    def evaluate(self, task: int, policy: TensorDictModuleBase) -> Score:
        """The score of a policy on task number `task`."""
        if self.evaluator is None:
            raise RunError("the process of the environments knows of no tasks to evaluate on")
        return self.evaluator(task, policy)

    def close(self) -> None:
        """Closes them."""
        for each in (self.collection, self.evaluator):
            if each is not None:
                each.close()


def answer(environments: Environments, request: bytes) -> bytes:
    """The answer to what a `Link` sends: random states after, warnings, result, error, its place.

    Args:
        environments: of the run that asks.
        request: pickled name of a method, its arguments, and random states before.
    """
    result = error = where = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # the run's process has filters of its own
        try:
            method, arguments, random = _load(request)
            set_random_state(random)
            result = getattr(environments, method)(*arguments)
        except BaseException as raised:  # also SystemExit: it is to end the run, not this process
            error, where = _portable(raised), traceback.format_exc()
    messages = [
        (str(w.message), w.category if _arrives(w.category) else UserWarning, w.filename, w.lineno)
        for w in caught
    ]
    try:
        return dumps((cpu_random_state(), messages, result, error, where))
    except Exception as raised:  # pickling raises whatever the methods of what it pickles raise
        error = RunError(
            f"what the process of the environments answers cannot be sent: {raised}; define it at "
            f"the top of a module, or use --simulators 0"
        )
        return dumps((cpu_random_state(), messages, None, error, traceback.format_exc()))


def _load(request: bytes) -> Any:
    try:
        return pickle.loads(request)
    except (ImportError, AttributeError) as error:  # what is defined where only the run can see it
        raise RunError(
            f"the process of the environments cannot import what it needs: {error}; put it into a "
            f"module on PYTHONPATH, or use --simulators 0"
        ) from error


def _portable(error: BaseException) -> BaseException:
    """The error, or what it says where it cannot be sent to another process."""
    return error if _arrives(error) else RunError(f"{type(error).__name__}: {error}")


def _arrives(value: Any) -> bool:
    """Whether a value can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        return False
    return True


def _serve(connection: Connection, turn: threading.Lock) -> None:
    """Answers one run until it hangs up; reads its request also while others have their turn."""
    environments = Environments()
    try:
        while True:
            request = connection.recv_bytes()
            with turn:
                reply = answer(environments, request)
            connection.send_bytes(reply)
    except (EOFError, OSError):
        pass  # the run has hung up
    finally:
        connection.close()  # whatever ended this, the run must not wait for an answer
        with turn:
            environments.close()


def _end_with_parent() -> None:
    """Waits until standard input ends, as it does when the parent has, in whatever way."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


def main(descriptors: list[int]) -> None:
    """Serves the runs at the other ends of these connections until the last hangs up."""
    for number in SIGNALS:  # the runs end this process, once they have saved what they are
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    turn = threading.Lock()
    threads = [threading.Thread(target=_serve, args=(Connection(d), turn)) for d in descriptors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main([int(descriptor) for descriptor in sys.argv[1:]])
