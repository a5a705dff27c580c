"""Pickles for another process, in which tensors are as cheap as arrays."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch import Tensor


class _Pickler(pickle.Pickler):
    """Takes a tensor's numbers as they lie in memory; torch's own way makes an archive of each."""

    def reducer_override(self, obj: Any) -> Any:
        # the types that NumPy lacks, and tensors that are more than their numbers, go torch's way
        if type(obj) is Tensor and obj.device.type == "cpu" and not obj.requires_grad:
            try:
                return torch.from_numpy, (obj.numpy(),)
            except (TypeError, RuntimeError):
                pass
        return NotImplemented


def dumps(value: Any) -> bytes:
    """What `pickle.loads` makes the value of again, in this process or another.

    Tensors that share memory do not share it afterwards.
    """
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()
