"""Critics of every registered name, and a user's own module; contract: `test_contracts.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import nn

from cotasp.errors import PluginError, RecipeError
from cotasp.modules.ensembles import Autograd, bind
from cotasp.modules.heads import HLGauss
from cotasp.modules.specs import CategoricalCritic, MLPCritic, ResidualCritic
from cotasp.registry import KINDS
from cotasp.testing import check_critic
from tests.agents.problems import learner, train

OBS, ACT, B = 3, 2, 7


class Pair(nn.Module):
    """What a user writes: two plain networks, and nothing of this library."""

    def __init__(self, sizes: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(nn.Linear(sizes, 8), nn.Tanh(), nn.Linear(8, 1)) for _ in range(2)
        )

    def forward(self, observation, action):
        x = torch.cat([observation, action], -1)
        return torch.stack([member(x).squeeze(-1) for member in self.members])


@dataclass(frozen=True)
class Own:
    """Two plain networks."""

    flat: bool = False
    broken: bool = False

    def build(self, in_features, action_dim):
        if self.broken:
            raise KeyError("width")
        made = Pair(in_features + action_dim)
        return Flat(made) if self.flat else made


class Flat(nn.Module):
    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, observation, action):
        return self.pair(observation, action).amin(0)


FAMILIES = {name: KINDS["critic"].get(name) for name in KINDS["critic"].names()} | {"own": Own}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]()


def made(family) -> nn.Module:
    """With weights that are all random, so that no gradient is 0 by chance."""
    critics = family.build(OBS, ACT).double()
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return critics


def rows(*front: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sizes = (*front, B, OBS), (*front, B, ACT), (*front, B)
    return tuple(torch.randn(size, dtype=torch.float64) for size in sizes)


def test_a_user_s_own_module_keeps_the_contract():
    check_critic(Own())


def test_values_are_forward_s(family):
    critics = family.build(OBS, ACT)
    observation, action, _ = (x.float() for x in rows())
    values = critics(observation, action)
    assert values.shape == (2, B)
    assert values.dtype == torch.float32
    assert (values[0] != values[1]).any(), "members begin alike"
    assert torch.equal(bind(critics).values(observation, action), values)
    one = critics(observation[:1], action[:1])
    torch.testing.assert_close(one, values[:, :1])


@pytest.mark.parametrize("family", [MLPCritic(), ResidualCritic(blocks=2), Own()], ids=str)
def test_plain_values_are_fitted_by_squared_error(family):
    critics = made(family)
    observation, action, target = rows()
    values = critics(observation, action)
    expected = sum(F.mse_loss(of_member, target) for of_member in values)
    loss, gradients = bind(critics).loss_and_gradients(observation, action, target)
    torch.testing.assert_close(loss, expected.detach())
    theirs = torch.autograd.grad(expected, list(critics.parameters()))
    for gradient, reference in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-10, atol=1e-12)


def test_an_ensemble_sees_weights_that_change_in_place(family):
    critics, other = made(family), made(family)
    observation, action, _ = rows()
    ensemble = bind(critics)
    critics.load_state_dict(other.state_dict())
    assert torch.equal(ensemble.values(observation, action), other(observation, action))


def test_a_learner_trains_them(family):
    trained = learner(critic=family, ensemble="mean")
    before = [p.detach().clone() for p in trained.values.network.parameters()]
    losses = train(trained, 0)
    assert all(torch.isfinite(value) for value in losses.values())
    assert not any(map(torch.equal, before, trained.values.network.parameters()))


@pytest.mark.parametrize("norm", ["all", "first", "none"])
def test_autograd_gives_what_is_written_out(norm):
    """The generic way on the module that needs it least."""
    critics = made(MLPCritic((9, 8), "gelu", norm))
    given = rows()
    loss, gradients = critics.ensemble().loss_and_gradients(*given)
    expected, theirs = Autograd(critics).loss_and_gradients(*given)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients, theirs, rtol=1e-10, atol=1e-12)


def test_values_of_another_shape_are_refused_before_training():
    with pytest.raises(PluginError, match=r"critic Flat: expected values of shape \[n, 3\].*\[3\]"):
        learner(critic=Own(flat=True))
    with pytest.raises(PluginError, match=r"critic Own \(of .*\) raised KeyError: 'width'"):
        learner(critic=Own(broken=True))


# -- the histogram ------------------------------------------------------------------------

BINS, LOW, HIGH, SIGMA = 21, -3.0, 5.0, 0.75
HEAD = HLGauss(BINS, LOW, HIGH, SIGMA)


def masses_by_scipy(target: float) -> torch.Tensor:
    """A normal distribution's, between the edges."""
    width = (HIGH - LOW) / BINS
    normal = scipy.stats.norm(min(max(target, LOW), HIGH), SIGMA * width)
    masses = [normal.cdf(LOW + (i + 1) * width) - normal.cdf(LOW + i * width) for i in range(BINS)]
    return torch.tensor(masses, dtype=torch.float64) / sum(masses)


@pytest.mark.parametrize("target", [-100.0, LOW, -1.234, 0.0, 4.9, HIGH, 1e6])
def test_masses_are_those_of_a_normal_distribution(target):
    found = HEAD.masses(torch.tensor(target, dtype=torch.float64))
    torch.testing.assert_close(found, masses_by_scipy(target), rtol=1e-9, atol=1e-12)
    single = HEAD.masses(torch.tensor(target))
    torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-6)


def test_the_masses_expectation_is_the_target():
    """But for the bins' width, and away from the ends, where the Gaussian is cut off."""
    targets = torch.linspace(-1.5, 3.5, 101, dtype=torch.float64)
    logits = HEAD.masses(targets).log()
    torch.testing.assert_close(HEAD.values(logits), targets, rtol=0, atol=1e-4)


def test_cross_entropy_and_its_gradients_are_pytorch_s():
    critics = made(CategoricalCritic((9, 8), "gelu", bins=BINS, low=LOW, high=HIGH, sigma=SIGMA))
    observation, action, target = rows()
    target = 4 * target  # some beyond the ends
    outputs, _ = critics.ensemble().layers.taped(observation, action)
    masses = torch.stack([masses_by_scipy(float(y)) for y in target])
    expected = sum(F.cross_entropy(logits, masses) for logits in outputs)
    loss, gradients = critics.ensemble().loss_and_gradients(observation, action, target)
    torch.testing.assert_close(loss, expected.detach())
    theirs = torch.autograd.grad(expected, list(critics.parameters()))
    for gradient, reference in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-11)
    centres = LOW + (torch.arange(BINS).double() + 0.5) * (HIGH - LOW) / BINS
    torch.testing.assert_close(critics(observation, action), outputs.softmax(-1) @ centres)


def test_a_histogram_learns_its_targets():
    """By gradient steps alone, to what squared error would give: the targets' mean per state."""
    critics = made(CategoricalCritic((32,), bins=BINS, low=LOW, high=HIGH))
    observation, action, target = rows()
    target = target.clamp(-1.5, 3.5)
    parameters, ensemble = list(critics.parameters()), bind(critics)
    optimiser = torch.optim.Adam(parameters, 1e-2)
    for _ in range(500):
        _, gradients = ensemble.loss_and_gradients(observation, action, target)
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        optimiser.step()
    error = (critics(observation, action) - target).abs().max()
    assert error < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResidualCritic(width=0), r"width: expected in \[1, 65536\]"),
        (lambda: ResidualCritic(blocks=-1), r"blocks: expected in \[0, "),
        (lambda: CategoricalCritic(bins=1), r"bins: expected in \[2, 65536\]"),
        (lambda: CategoricalCritic(low=1.0, high=1.0), "high: expected above low, 1.0, got 1.0"),
        (lambda: CategoricalCritic(sigma=0.0), "sigma: expected above 0"),
        (lambda: replace(MLPCritic(), hidden=()), "hidden: expected at least one width"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
