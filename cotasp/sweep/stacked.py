"""Several trials of one recipe in one process, their updates computed together.

`python -m cotasp.sweep.stacked DIR...` is what `--launcher stacked` starts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from cotasp.errors import RunStopped
from cotasp.sweep.trial import Job, begun, job_at, note


def run_stacked(jobs: Sequence[Job]) -> int:
    """Runs the trials to their ends, or continues them; the process's exit code.

    One that fails leaves the others alone; its log says why.
    """
    import torch

    from cotasp.continual.lockstep import in_lockstep
    from cotasp.continual.stopping import StopRequest
    from cotasp.learning.stacked import update_together

    torch.set_num_threads(1)
    with StopRequest():
        ended = in_lockstep([partial(_run, job, len(jobs)) for job in jobs], update_together)
    code = 0
    for job, outcome in zip(jobs, ended):
        if isinstance(outcome, BaseException):
            stopped = isinstance(outcome, RunStopped)
            note(job, outcome, "" if stopped else "error: ")
            code = max(code, 128 + outcome.number if stopped else 1)
    return code


def _run(job: Job, learners: int, meet: Any) -> dict[str, Any]:
    from cotasp.continual.loop import resume, run
    from cotasp.learning.updates import Together
    from cotasp.recipe import load

    together = Together(meet, learners)
    if begun(job):
        return resume(job.out, progress=False, together=together)
    return run(load(job.recipe), job.out, progress=False, together=together)


if __name__ == "__main__":
    trials = [job_at(path, path, steps=0) for path in sys.argv[1:]]
    try:
        sys.exit(run_stacked(trials))
    except Exception as error:  # of what they share: it is every trial's reason
        for trial in trials:
            note(trial, error)
        raise
