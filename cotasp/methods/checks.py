"""What stops an actor: masks without units, and states of other tasks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cotasp.errors import ConvergenceWarning, RecipeError, RunError, refuse_returned
from cotasp.methods.problem import Problem
from cotasp.modules.codes import LayerMasks
from cotasp.modules.ownership import Ownership
from cotasp.modules.subnetwork import active_units
from cotasp.prompting.prompter import Prompter

LITTLE = 0.01  # fraction of free weights with which nothing can be learned
_SAME_TEXT = 1e-4  # largest difference of a text's embedding from one machine to another


def check_sub_network(mask: Tensor, policy: LayerMasks, problem: Problem, task: int) -> None:
    """Raises RunError when a task's mask [sum(hidden)] switches a whole layer off, and PluginError
    when it is none.
    """
    _check_entries(mask, policy)
    try:
        active_units(mask, policy.hidden)
    except RunError as error:
        raise RunError(f"task {task + 1} ({problem.texts[task]!r}): {error}") from error


def check_first_masks(
    masks: Tensor, prompter: Prompter, policy: LayerMasks, embeddings: Tensor, problem: Problem
) -> None:
    """Raises RecipeError when a text's first mask switches a layer off; it names what is to blame.

    Raises PluginError when it is no mask.

    Args:
        masks: [n_tasks, sum(hidden)].
        prompter, policy, embeddings: what they were made of, [n_tasks, m] the last.
        problem: the stream.
    """
    _check_entries(masks, policy)
    empty = ~_layers_with_units(masks, policy.hidden)
    if not empty.any():
        return
    task, layer = empty.nonzero()[0].tolist()
    code = prompter(embeddings)[task].split(policy.hidden)[layer]
    largest = float((prompter.dictionaries[layer].atoms @ embeddings[task].double()).abs().max())
    lmbda = prompter.coding.lmbda
    flaw = f"task {task + 1} ({problem.texts[task]!r}) gets no neuron in hidden layer {layer + 1}"
    if (code > 0).any():
        raise RecipeError(
            f"recipe.mask: {flaw}: {type(policy.policy).__name__} switches off all whose code is "
            f"above 0, the largest {float(code.max()):.2g}; set it to keep some of them"
        )
    if lmbda < largest and not code.any():
        raise RecipeError(
            f"recipe.dictionary.solver: {flaw}: {type(prompter.coding.solver).__name__} stopped at "
            f"the zero code, the lasso's only for an lmbda of {largest:.2g} or more, not for "
            f"{lmbda:g}; let it converge, or use lars"
        )
    usable = _largest_lmbda(prompter, policy, embeddings)
    if usable is None:
        raise RecipeError(f"recipe.actor.hidden: {flaw}, with any lmbda; make that layer wider")
    raise RecipeError(
        f"recipe.dictionary.lmbda: {flaw}: no atom explains its text at {lmbda:g}; the largest "
        f"lmbda at which all tasks get some is about {usable:g}"
    )


def _check_entries(masks: Tensor, policy: LayerMasks) -> None:
    """Raises PluginError unless all entries are in [0, 1]."""
    outside = masks[~((masks >= 0) & (masks <= 1))]
    wrong = f"{outside[0]:g} in {len(outside)} of {masks.numel()}" if len(outside) else None
    refuse_returned("mask", policy.policy, "__call__", "entries in [0, 1]", wrong)


def _layers_with_units(masks: Tensor, hidden: Sequence[int]) -> Tensor:
    """Which layers masks [n, sum(hidden)] leave a unit, [n, n_layers]."""
    return torch.stack([layer.any(-1) for layer in (masks > 0).split(tuple(hidden), -1)], -1)


def _largest_lmbda(prompter: Prompter, policy: LayerMasks, embeddings: Tensor) -> float | None:
    """An lmbda, of two digits, at which every text gets a unit in every layer; None: found none.

    Were codes non-negative they would be zero from max(D e) on.  They are not, and those below
    0 shift that a little; so values are tried from there down.
    """
    e = embeddings.double()
    zero_from = min(float((e @ d.atoms.mT).amax(-1).min()) for d in prompter.dictionaries)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for lmbda in (float(f"{zero_from * 0.95**i:.2g}") for i in range(60) if zero_from > 0):
            if _layers_with_units(policy(prompter(embeddings, lmbda)), policy.hidden).all():
                return lmbda
    return None


def load_tasks(
    state: Mapping[str, Any],
    begun: int,
    embeddings: Tensor,
    codes: Tensor,
    ownership: Ownership,
    weights: Mapping[str, Tensor],
) -> None:
    """Takes back, into the tensors given, what a state says of the tasks that have begun.

    Args:
        state: of an actor.
        begun: tasks, according to it.
        embeddings, codes, ownership: of all tasks.
        weights: of the network, by name.

    Raises:
        RunError: it knows more tasks than there are, or by other embeddings, or shares are of
            another network.
    """
    saved = state["embeddings"]
    check_embeddings(saved, begun, embeddings)
    embeddings[:begun] = saved[:begun]
    units = [len(share["units"]) for share in state["ownership"].values()]
    for got in (state["codes"].shape[1], *units):
        if got != codes.shape[1]:
            raise RunError(f"codes: expected {codes.shape[1]} neurons, got {got}")
    codes.zero_()
    codes[:begun] = state["codes"][:begun].to(codes)
    for task, share in state["ownership"].items():
        _check_share(int(task), share, weights)
    ownership.load_state_dict(state["ownership"])


def check_embeddings(saved: Tensor, begun: int, embeddings: Tensor) -> None:
    """Raises RunError where the tasks that had begun have other embeddings now.

    Args:
        saved: as a state has them, [n, m].
        begun: tasks, according to it.
        embeddings: of all tasks now, [n_tasks, m].
    """
    if begun > len(embeddings) or saved.shape[1] != embeddings.shape[1]:
        raise RunError(
            f"expected at most {len(embeddings)} tasks with embeddings of "
            f"{embeddings.shape[1]} numbers, got {begun} of {saved.shape[1]}"
        )
    if not torch.allclose(embeddings[:begun], saved[:begun], rtol=0, atol=_SAME_TEXT):
        raise RunError("the encoder gives the tasks other embeddings than it did")


def _check_share(task: int, share: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Raises RunError where a share's tensors are not of these weights' shapes."""
    for name, tensor in (*share["scale"].items(), *share["own"].items()):
        shape = list(weights[name].shape) if name in weights else []
        dtype = torch.bool if name in share["scale"] else tensor.dtype
        if list(tensor.shape) != shape or tensor.dtype != dtype:
            raise RunError(
                f"share of task {task + 1}: {name}: expected {dtype} of shape {shape}, got "
                f"{tensor.dtype} of {list(tensor.shape)}; it is of another network"
            )


def warn_if_little_is_free(
    free: float, task: int, texts: Sequence[str], embeddings: Tensor
) -> None:
    """Warns where a task begins with next to no weight that may move.

    Args:
        free: fraction of its sub-network's weights that may move, in [0, 1].
        task: its number.
        texts: of all tasks.
        embeddings: of these, [n_tasks, m], unit rows.
    """
    if task == 0 or free >= LITTLE:
        return
    cosines = (embeddings[:task] @ embeddings[task]).tolist()
    nearest = max(range(task), key=cosines.__getitem__)
    if texts[nearest] == texts[task]:  # a task that comes back is to find what it had
        return
    warnings.warn(
        f"task {task + 1} ({texts[task]!r}): {free:.1%} of its weights may still be trained, the "
        f"others belong to finished tasks; nearest is task {nearest + 1} ({texts[nearest]!r}), "
        f"cosine {cosines[nearest]:.3f}: widen actor.hidden, or say in what they differ",
        stacklevel=2,
    )
