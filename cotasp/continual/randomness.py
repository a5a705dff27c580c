"""The global random states of Python, NumPy and torch: set at the beginning, saved, restored."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds every global generator, also those that only components from elsewhere may use."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the legacy generator is the global one)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The states, accelerators' included, as tensors, numbers and strings."""
    from torchrl.checkpoint import GlobalRNGState

    return GlobalRNGState().state_dict()


def cpu_random_state() -> dict[str, Any]:
    """The states without accelerators'."""
    state = random_state()
    return {name: state[name] for name in ("python", "numpy", "torch_cpu")}


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restores what one of these returned, its tuples perhaps become lists.

    Of accelerators, of those that are here: a run may go on without the one that it began on.
    """
    from torchrl.checkpoint import GlobalRNGState

    version, numbers, gauss = state["python"]
    here = {key: value for key, value in state.items() if _is_here(key)}
    if "torch_cuda" in here:
        here["torch_cuda"] = here["torch_cuda"][: torch.cuda.device_count()]
    GlobalRNGState().load_state_dict({**here, "python": (version, tuple(numbers), gauss)})


@contextmanager
def forked(seed: int) -> Iterator[None]:
    """Seeds the global generators for what is inside, and leaves them as they were before.

    Python's, NumPy's and torch's of the CPU; accelerators' are left alone.
    """
    python, legacy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(cpu)


def _is_here(key: str) -> bool:
    """Whether what a state's entry is of can be set on this machine."""
    accelerators = {
        "torch_cuda": torch.cuda,
        "torch_xpu": torch.xpu,
        "torch_mps": torch.backends.mps,
    }
    return key not in accelerators or accelerators[key].is_available()
