"""What Adam remembers, as nested mappings of tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Moments = Mapping[str, Mapping[str, Tensor]]  # by number of the parameter


def adam_state(optimiser: torch.optim.Adam) -> dict[str, dict[str, Tensor]]:
    """Step and moments of every parameter that has taken one."""
    state = optimiser.state_dict()["state"]
    return {str(number): dict(values) for number, values in state.items()}


def load_adam_state(optimiser: torch.optim.Adam, state: Moments) -> None:
    """Takes back what `adam_state` gave, as copies; the rates stay the optimiser's own."""
    copies = {int(n): {k: v.clone() for k, v in values.items()} for n, values in state.items()}
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": copies, "param_groups": groups})
