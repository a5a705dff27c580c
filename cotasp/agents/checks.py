"""What stops a learner: settings that can only end badly, and numbers that are not finite."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cotasp.agents.budget import check_returns
from cotasp.errors import ConvergenceWarning, RecipeError, RunError
from cotasp.methods.multistep import fitted_discount
from cotasp.modules.subnetwork import active_units
from cotasp.storage.tensors import non_finite

if TYPE_CHECKING:
    from cotasp.agents.sac import SAC
    from cotasp.methods.problem import Problem
    from cotasp.modules.tensordict import LayerMasks
    from cotasp.prompting.prompter import Prompter

_REMEDY = "lower learning_rate or reward_scale, or check the environment's rewards"


def check_episode(settings: SAC, problem: Problem) -> None:
    """Sees that returns and discount fit an episode's length.

    Raises:
        RecipeError: returns of more steps than an episode has.
    """
    check_returns(settings, problem)
    gamma = settings.gamma
    if problem.horizon is None or gamma is None:
        return
    transitions = problem.horizon // problem.action_repeat
    ahead = 1 / max(1 - gamma, 1e-9)
    if 0.999 * transitions / 20 <= ahead <= 1.001 * transitions:
        return
    warnings.warn(
        f"recipe.agent.gamma: {gamma:g} looks {ahead:,.0f} actions ahead, where "
        f"an episode has {transitions}; leave it out to have it fitted, or choose about "
        f"{fitted_discount(problem):g}",
        stacklevel=2,
    )


def check_sub_network(mask: Tensor, hidden: Sequence[int], problem: Problem, task: int) -> None:
    """Raises RunError when a task's mask [sum(hidden)] switches a whole layer off."""
    try:
        active_units(mask, hidden)
    except RunError as error:
        raise RunError(f"task {task + 1} ({problem.texts[task]!r}): {error}") from error


def check_first_masks(
    masks: Tensor, prompter: Prompter, policy: LayerMasks, embeddings: Tensor, problem: Problem
) -> None:
    """Raises RecipeError when a text's first mask switches a layer off; it names what is to blame.

    Args:
        masks: [n_tasks, sum(hidden)].
        prompter, policy, embeddings: what they were made of, [n_tasks, m] the last.
        problem: the stream.
    """
    empty = ~_layers_with_units(masks, policy.hidden)
    if not empty.any():
        return
    task, layer = empty.nonzero()[0].tolist()
    code = prompter(embeddings)[task].split(policy.hidden)[layer]
    largest = float((prompter.dictionaries[layer].atoms @ embeddings[task].double()).abs().max())
    lmbda = prompter.coding.lmbda
    told = f"task {task + 1} ({problem.texts[task]!r}) gets no neuron in hidden layer {layer + 1}"
    if (code > 0).any():
        raise RecipeError(
            f"recipe.mask: {told}: {type(policy.policy).__name__} switches off all whose code is "
            f"above 0, the largest {float(code.max()):.2g}; set it to keep some of them"
        )
    if lmbda < largest and not code.any():
        raise RecipeError(
            f"recipe.dictionary.solver: {told}: {type(prompter.coding.solver).__name__} stopped at "
            f"the zero code, the lasso's only for an lmbda of {largest:.2g} or more, not for "
            f"{lmbda:g}; let it converge, or use lars"
        )
    usable = _largest_lmbda(prompter, policy, embeddings)
    if usable is None:
        raise RecipeError(f"recipe.actor.hidden: {told}, with any lmbda; make that layer wider")
    raise RecipeError(
        f"recipe.dictionary.lmbda: {told}: no atom explains its text at {lmbda:g}; the largest "
        f"lmbda at which all tasks get some is about {usable:g}"
    )


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


def check_losses(losses: Mapping[str, Tensor], before: int) -> None:
    """Raises RunError at the first loss of some updates that is not finite.

    Args:
        losses: by name, in the order in which an update computes them, [updates] each.
        before: updates made before these.
    """
    wrong = ~torch.isfinite(torch.stack(list(losses.values()), -1)).flatten()
    if wrong.any():
        i, which = divmod(int(wrong.long().argmax()), len(losses))
        name = list(losses)[which]
        raise RunError(f"{name} is {float(losses[name][i])} at update {before + i + 1}; {_REMEDY}")


def check_parameters(parameters: Iterable[tuple[str, Tensor]], update: int) -> None:
    """Raises RunError when a parameter is not finite."""
    name = non_finite(parameters)
    if name is not None:
        raise RunError(f"parameter {name} is not finite at update {update}; {_REMEDY}")
