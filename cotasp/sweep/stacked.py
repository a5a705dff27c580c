"""Several trials of one recipe in one process, their updates computed together.

`python -m cotasp.sweep.stacked SIMULATORS DIR...` is what `--launcher stacked` starts.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from cotasp.errors import CotaspError, RunError, RunStopped
from cotasp.sweep.trial import Job, has_begun, job_at, note

if TYPE_CHECKING:
    from cotasp.continual.remote import Link


def run_stacked(jobs: Sequence[Job], simulators: int = 0) -> int:
    """Runs the trials to their ends, or continues them; the process's exit code.

    One that fails leaves the others alone; its log says why.

    Args:
        jobs: the trials.
        simulators: processes that hold their environments and simulate at the same time; at most
            one for each trial is started.  0: this process simulates for one after the other.
    """
    import torch

    from cotasp.agents.stacked import StackedUpdates
    from cotasp.continual.lockstep import in_lockstep
    from cotasp.continual.remote import environment_links
    from cotasp.continual.stopping import StopRequest

    torch.set_num_threads(1)
    with StopRequest(), environment_links(len(jobs), simulators) as links:
        # the first finds out whether there is memory for all; the others begin when it has its own
        learners = [len(jobs), *[1] * (len(jobs) - 1)]
        works = [partial(_run, *each) for each in zip(jobs, learners, links)]
        ended = in_lockstep(works, StackedUpdates())
    code = 0
    for job, outcome in zip(jobs, ended):
        if isinstance(outcome, BaseException):
            _tell(job, outcome, "" if isinstance(outcome, RunStopped) else "error: ")
            code = max(code, 128 + outcome.number if isinstance(outcome, RunStopped) else 1)
    return code


def _tell(job: Job, error: BaseException, said: str) -> None:
    """Writes to the trial's log why it ended, and where if nobody expected it."""
    if not isinstance(error, CotaspError):
        with job.open_log() as log:
            log.write("".join(traceback.format_exception(error)).encode())
        error = RunError(f"{type(error).__name__}: {error}")
    note(job, error, said)


def _run(job: Job, learners: int, link: Link | None, meet: Any) -> dict[str, Any]:
    from cotasp.agents.updates import Stacking
    from cotasp.continual.loop import resume, run
    from cotasp.recipe import load

    if link is not None:
        link.wait = meet  # the others ask their simulators meanwhile
    how: Any = {"progress": False, "stacking": Stacking(meet, learners), "link": link}
    if has_begun(job):
        return resume(job.out, **how)
    return run(load(job.recipe), job.out, **how)


if __name__ == "__main__":
    _, count, *paths = sys.argv
    sys.exit(run_stacked([job_at(path, path, steps=0) for path in paths], int(count)))
