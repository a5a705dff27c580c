"""What critics promise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cotasp.modules.ensembles import bind
from cotasp.modules.specs import Critic
from cotasp.testing._ensure import ensure, ensure_close

OBS, ACT, ROWS = 3, 2, 7


def check_critic(critic: Critic) -> None:
    """Checks values, their fit's and the action's gradients, and that stacked critics are each
    what they are alone.

    Raises:
        AssertionError: a promise of `cotasp.modules.Critic` is broken.
    """
    network = _made(critic)
    observation, action, _ = _rows()
    values = network(observation, action)
    shape = list(values.shape)
    ensure(values.ndim == 2 and shape[1] == ROWS, f"values are [members, B], got {shape}")
    ensure((values[0] != values[-1]).any() or len(values) == 1, "members begin unlike each other")
    bound = bind(network)
    ensure_close(bound.values(observation, action), values.detach(), "values are forward's", 0, 0)
    _check_fit(network)
    _check_action(network, len(values))
    _check_stacked(critic, len(values))


def _made(critic: Critic) -> nn.Module:
    """With weights that are all random, so that no gradient is 0 by chance."""
    network = critic.build(OBS, ACT).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def _rows(*front: int) -> tuple[Tensor, Tensor, Tensor]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*front, *shape, dtype=torch.float64)

    return normal(ROWS, OBS), normal(ROWS, ACT), normal(ROWS)


def _check_fit(network: nn.Module) -> None:
    """Along a random direction, by central differences: that knows of no loss."""
    batch, parameters = _rows(), list(network.parameters())
    loss, gradients = bind(network).loss_and_gradients(*batch)
    ensure(loss.shape == (), f"a loss is a scalar, got {list(loss.shape)}")
    shapes = [g.shape for g in gradients] == [p.shape for p in parameters]
    ensure(shapes, "gradients have the parameters' shapes, in their order")
    for k, gradient in enumerate(gradients):
        if not parameters[k].requires_grad:
            ensure(not gradient.any(), f"parameter {k}, which takes no gradient, is given none")
            continue
        direction = torch.randn_like(gradient)
        direction /= direction.norm()
        ends = []
        for step in (1e-5, -1e-5):
            moved = [parameter.detach() for parameter in parameters]
            moved[k] = moved[k] + step * direction
            ends.append(bind(network, moved).loss_and_gradients(*batch)[0])
        slope = (ends[0] - ends[1]) / 2e-5
        along = (gradient * direction).sum()
        ensure_close(along, slope, f"gradient {k} is the loss's slope", rtol=1e-5, atol=1e-8)


def _check_action(network: nn.Module, members: int) -> None:
    observation, action, _ = _rows()
    slope = torch.randn(members, ROWS, dtype=torch.float64)
    with torch.no_grad():
        _, pullback = bind(network).action_vjp(observation, action)
        gradient = pullback(slope)
    action.requires_grad_()
    (rise,) = torch.autograd.grad((network(observation, action) * slope).sum(), [action])
    ensure_close(gradient, rise, "the action's gradient is autograd's", rtol=1e-10, atol=1e-12)


def _check_stacked(critic: Critic, members: int) -> None:
    alone = [_made(critic) for _ in range(3)]
    stacked = [torch.stack([p.detach() for p in same]) for same in zip(*_parameters(alone))]
    together, batch = bind(alone[0], stacked), _rows(3)
    loss, gradients = together.loss_and_gradients(*batch)
    values = together.values(*batch[:2])
    ensure(values.shape == (3, members, ROWS), "stacked values have a learner's axis in front")
    for i, network in enumerate(alone):
        one, mine = bind(network), tuple(x[i] for x in batch)
        promise = f"learner {i} of three stacked ones is what it is alone"
        ensure_close(values[i], one.values(*mine[:2]), promise, rtol=1e-7, atol=1e-9)
        expected, theirs = one.loss_and_gradients(*mine)
        ensure_close(loss[i], expected, promise, rtol=1e-7, atol=1e-9)
        for gradient, reference in zip(gradients, theirs):
            ensure_close(gradient[i], reference, promise, rtol=1e-7, atol=1e-9)


def _parameters(networks: list[nn.Module]) -> list[list[nn.Parameter]]:
    return [list(network.parameters()) for network in networks]
