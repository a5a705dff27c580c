"""What Adam remembers, as nested mappings of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cotasp.errors import RunError

MOMENTS = ("exp_avg", "exp_avg_sq")
Moments = Mapping[str, Mapping[str, Tensor]]  # by number of the parameter


def adam_state(optimiser: torch.optim.Adam) -> dict[str, dict[str, Tensor]]:
    """Step and moments of every parameter that has taken one."""
    state = optimiser.state_dict()["state"]
    return {str(number): dict(values) for number, values in state.items()}


def load_adam_state(optimiser: torch.optim.Adam, state: Moments) -> None:
    """Takes back what `adam_state` gave, as copies; the rates stay the optimiser's own.

    Raises:
        RunError: of other parameters.  Fused Adam would read beyond moments that are too short.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    copies = {}
    for number, values in state.items():
        check_shapes(
            f"optimiser {number}",
            values,
            {"step": torch.Size()} | dict.fromkeys(MOMENTS, parameters[int(number)].shape),
        )
        copies[int(number)] = {key: value.clone() for key, value in values.items()}
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": copies, "param_groups": groups})


def check_shapes(
    where: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]
) -> None:
    """Raises RunError unless there are just these floating tensors, of these shapes."""
    if tensors.keys() != expected.keys():
        raise RunError(f"{where}: expected {sorted(expected)}, got {sorted(tensors)}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != torch.Size(shape) or not tensor.is_floating_point():
            raise RunError(
                f"{where}: {name}: expected numbers of shape {list(shape)}, "
                f"got {tensor.dtype} of {list(tensor.shape)}"
            )
