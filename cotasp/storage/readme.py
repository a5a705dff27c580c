"""The text that a run directory has for people."""

from __future__ import annotations

import shlex
from pathlib import Path

README = "README.md"

_TEXT = """# A run of cotasp

What is here, and what to do with it.  Commands name this directory as it was when the run began;
write another path where it has moved.

## Files

- `recipe.yaml`: all that was asked for, every default written out; `cotasp run` takes it again.
- `protocol.json`: what results depend on beside the method: stream, budget, evaluation and success
  rule with their hash; formulas of the metrics, versions of packages, threads; the recipe as it
  was when the run began, for no run goes on with another.
- `metrics.csv`: every number that was logged, one a row: `step,task,name,value`; steps are
  counted over all tasks.  Names begin with `evaluation/` (success, return and length of episodes),
  `train/` (losses and the mean reward of a step) or `facts/` (what is known at a task's end).
- `episodes.csv`: every episode of training: `task,step,return,length,success`, at its last step.
- `timing.csv`: steps per second, as in `metrics.csv`.
- `evaluations.json`: every evaluation up to the last task's end, with success and return of each
  task.
- `summary.json`: results, once the run has ended: each metric, in all and by task (`per_task`).
- `timing.json`: wall time, processor time and peak memory.
- `checkpoints/`: where the run goes on from; `task_NN` is the end of the NNth task.

There may be `tensorboard/`, `wandb/` or `mlflow.db` too (the recipe's `logger`), and what
`cotasp report` wrote, `report/`.

## While there is no summary.json

The run is at work, or was stopped.  It goes on from its last checkpoint by

```sh
cotasp resume {run}
```

and ends with the same results as if it had never been stopped.

## When it has ended

```sh
cotasp play {run} --all --out {film}
cotasp evaluate {run}
cotasp report {run}
```

show each task's policy at work, repeat the last evaluation, and write tables and a page with
figures.  `cotasp compare` sets it beside another run, `cotasp prompt` says what it makes of a
sentence, `cotasp export` writes a policy for use elsewhere, `cotasp adapt` learns one task more;
each has `--help`.

From Python:

```python
import cotasp

run = cotasp.open_run({path!r})
print(run.table())
```
"""


def readme(run: str | Path) -> str:
    """Markdown that says what a run directory's files are and what to do next.

    Args:
        run: path of the directory.
    """
    path = Path(run)
    film = path.with_name(f"{path.name}.gif") if path.name else path / "film.gif"
    quoted = (shlex.quote(str(p)) for p in (path, film))
    return _TEXT.format(**dict(zip(("run", "film"), quoted)), path=str(path))
