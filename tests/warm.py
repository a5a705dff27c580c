"""Runs commands in processes that have imported already what takes seconds to import.

`python tests/warm.py` reads a job a line, as JSON, forks, and writes its exit code:

- `cotasp`: arguments of the command line, `python`: a script, or `module`: its name, arguments;
- `folder`: where it runs, `environment`: what is set beside, `output`: the file of both streams.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any


class Warm:
    """The process, as its owner sees it."""

    def __init__(self, output: Path):
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __call__(self, folder: Path, **job: Any) -> tuple[int, str]:
        """Exit code and output of a job."""
        job |= {"folder": str(folder), "output": str(self.output)}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return code, self.output.read_text(encoding="utf-8")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def work(job: dict[str, Any]) -> int:
    """What the forked process does; its exit code."""
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(job["folder"])
    os.environ.update(job.get("environment", {}))
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    try:
        if "module" in job:
            sys.path[0], sys.argv = job["folder"], job["module"]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            return 0
        if "python" in job:
            warnings.simplefilter("error", UserWarning)
            sys.path[0], sys.argv = job["folder"], [job["python"]]
            runpy.run_path(job["python"], run_name="__main__")
            return 0
        from cotasp.__main__ import main

        del sys.path[0]  # a command imports nothing from where its script is
        sys.argv = ["cotasp", *job["cotasp"]]
        return main(job["cotasp"]) or 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1


def serve() -> None:
    import sentence_transformers  # noqa: F401
    import torch

    import cotasp.continual.loop
    import cotasp.continual.opened
    import cotasp.tasks.metaworld  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = work(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
