"""A sub-network as plain torch modules, to be exported and used without this package."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cotasp.errors import RunError
from cotasp.modules.policy import MetaPolicy
from cotasp.targets import EXPORTS, check_file, replacing

_ACTIVATIONS = {"leaky_relu": nn.LeakyReLU, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def plain_module(policy: MetaPolicy) -> nn.Sequential:
    """The deterministic action of a policy, `observation` [*, n] to tanh(loc) [*, action_dim].

    Made of `torch.nn` modules only.  Weights are copied.

    Args:
        policy: computed without a mask; cut a task's out of the meta-policy with `extract`.

    Examples:
        >>> from cotasp.modules import extract
        >>> policy = extract(MetaPolicy(3, 2, (8, 8)), torch.tensor([1.0, 0.0] * 8))
        >>> [type(part).__name__ for part in plain_module(policy)]
        ['Linear', 'LayerNorm', 'Tanh', 'Linear', 'LeakyReLU', 'Linear', 'Tanh']
    """
    parts: list[nn.Module] = []
    for i, layer in enumerate(policy.body.layers):
        parts.append(_copy(layer))
        if i == 0 and policy.body.norm == "first":
            parts += [nn.LayerNorm(layer.out_features, elementwise_affine=False), nn.Tanh()]
        else:
            parts.append(_ACTIVATIONS[policy.body.activation]())
    squashed = [nn.Tanh()] if policy.squash_mean else []
    return nn.Sequential(*parts, _copy(policy.mean), *squashed, nn.Tanh()).eval()


def _copy(layer: nn.Linear) -> nn.Linear:
    copy = nn.utils.skip_init(
        nn.Linear, layer.in_features, layer.out_features, bias=layer.bias is not None
    ).to(layer.weight)
    own = copy.state_dict()
    copy.load_state_dict({name: layer.get_parameter(name) for name in own})
    return copy.requires_grad_(False)


FACTS = "facts.json"  # name of the facts within a .pt2 file


class _Rescaled(nn.Module):
    """A policy whose actions in [-1, 1] are brought into another range."""

    def __init__(self, policy: nn.Module, low: Sequence[float], high: Sequence[float]) -> None:
        super().__init__()
        self.policy = policy
        lowest, highest = torch.tensor([low, high], dtype=torch.float32)
        self.register_buffer("low", lowest.clone())
        self.register_buffer("range", highest - lowest)

    def forward(self, observation: Tensor) -> Tensor:
        return self.low + self.range * (self.policy(observation) + 1) / 2


class _Marked(nn.Module):
    """A policy that is told the same mark at the end of each observation."""

    mark: Tensor

    def __init__(self, policy: nn.Module, mark: Sequence[float]) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("mark", torch.tensor(mark, dtype=torch.float32))

    def forward(self, observation: Tensor) -> Tensor:
        mark = self.mark.expand(*observation.shape[:-1], -1)
        return self.policy(torch.cat([observation, mark], -1))


def export_policy(
    policy: MetaPolicy,
    path: str | Path,
    facts: Mapping[str, str | int] | None = None,
    action_range: tuple[Sequence[float], Sequence[float]] | None = None,
    mark: Sequence[float] = (),
) -> Path:
    """Writes `plain_module(policy)` for any batch size, on the CPU: `observation` to `action`.

    Args:
        policy: see `plain_module`.
        facts: what whoever uses the policy must know, written into the file: in a `.pt2` as the
            extra file `facts.json`, in an `.onnx` as its metadata.
        path: ends with `.pt2` (for `torch.export.load`) or `.onnx` (needs the package
            onnxscript); replaced if it exists.
        action_range: lowest and highest actions, [action_dim] each, which -1 and 1 become; None:
            they stay.  Written into the file as `action_low` and `action_high`, JSON.
        mark: the numbers at the end of the policy's observations, which then are the file's own and
            no longer asked for; see `cotasp.tasks.Task`.  How many are left is written into the
            file as `observation_size`.

    Raises:
        RecipeError: another ending.
        RunError: the directory or the ONNX exporter is not there, or the file cannot be written;
            one that was there before stays as it was.
    """
    path = check_file(path, EXPORTS)
    module: nn.Module = plain_module(policy).cpu()
    low, high = action_range or ([-1.0] * policy.action_dim, [1.0] * policy.action_dim)
    if mark:
        module = _Marked(module, mark)
    if action_range is not None:
        module = _Rescaled(module, low, high)
    size = policy.body.in_features - len(mark)
    bounds = {"action_low": json.dumps(low), "action_high": json.dumps(high)}
    facts = {**(facts or {}), "observation_size": size, **bounds}
    example: Tensor = torch.zeros(2, size)
    batch = ({0: torch.export.Dim("batch", min=1)},)
    if path.suffix.lower() == ".pt2":
        program = torch.export.export(module, (example,), dynamic_shapes=batch)
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={FACTS: json.dumps(facts)})
        with replacing(path) as new:
            new.write_bytes(content.getvalue())
        return path
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision aloud
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            graph = torch.onnx.export(
                module,
                (example,),
                dynamic_shapes=batch,
                input_names=["observation"],
                output_names=["action"],
                verbose=False,
            )
    except ImportError as error:
        raise RunError(
            f"{path}: torch's ONNX exporter needs {error.name}; pip install 'cotasp[onnx]'"
        ) from error
    if graph is None:
        raise RunError(f"{path}: torch's ONNX exporter gave no program; write a .pt2 file instead")
    graph.model.metadata_props.update({k: str(v) for k, v in facts.items()})
    with replacing(path) as new:
        graph.save(new)
    return path
