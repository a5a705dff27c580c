"""Closing what may fail to close."""

from __future__ import annotations

import warnings
from typing import Any


def close(environment: Any) -> None:
    """Closes an environment; one that cannot be closed is a warning, for its work is done."""
    try:
        environment.close()
    except Exception as error:  # an environment raises whatever it likes
        warnings.warn(
            f"{environment}: closing it failed: {error!r}; what was learned in it stays",
            stacklevel=2,
        )
