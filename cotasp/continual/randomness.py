"""The global random states of Python, NumPy and torch: set at the beginning, saved, restored."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torchrl.checkpoint import GlobalRNGState


def seed_everything(seed: int) -> None:
    """Seeds every global generator, also those that only components from elsewhere may use."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the legacy generator is the global one)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The states, accelerators' included, as tensors, numbers and strings."""
    return GlobalRNGState().state_dict()


def cpu_random_state() -> dict[str, Any]:
    """The states without accelerators'."""
    state = random_state()
    return {name: state[name] for name in ("python", "numpy", "torch_cpu")}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restores what one of these returned, its tuples perhaps become lists."""
    version, numbers, gauss = state["python"]
    GlobalRNGState().load_state_dict({**state, "python": (version, tuple(numbers), gauss)})
