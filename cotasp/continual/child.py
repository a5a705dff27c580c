"""Python processes that import exactly what this one would, and nothing from where it stands."""

from __future__ import annotations

import os
import sys

_CODE = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
    "runpy.run_module({!r}, run_name='__main__', alter_sys=True)"
)


def python(module: str, *arguments: str) -> list[str]:
    """The command of `python -m module`, which would look for modules in the current folder first.

    It is to run with `import_path()` as its PYTHONPATH.
    """
    return [sys.executable, "-c", _CODE.format(module), *arguments]


def import_path() -> str:
    """The folders from which this process imports, as PYTHONPATH has them."""
    return os.pathsep.join(path or os.getcwd() for path in sys.path)
