"""The meta-policy against Eq. 2 written as loops, and its parts against independent references."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchrl.modules import TanhNormal

from cotasp.errors import RunError
from cotasp.modules.policy import (
    MaskedMLP,
    MetaPolicy,
    masked_layer_norm,
    sample_squashed,
    variance_scaling_,
)
from cotasp.modules.share import Share
from cotasp.modules.subnetwork import active_rows, extract, gather, scatter_, unit_axes

HIDDEN = (12, 9, 10)


def policy(**kwargs) -> MetaPolicy:
    made = MetaPolicy(5, 2, HIDDEN, head_scale=1.0, **kwargs)
    for parameter in made.parameters():  # biases away from zero, so that they matter
        torch.nn.init.normal_(parameter, std=0.5)
    return made.double()


def random_mask(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for width in HIDDEN:
        layer = (torch.rand(width, generator=generator) < 0.4).double()
        layer[int(torch.randint(width, (), generator=generator))] = 1.0
        layers.append(layer)
    return torch.cat(layers)


@torch.no_grad()
def equation_2(net: MetaPolicy, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Features by deleting inactive units, one observation and one unit at a time."""
    y = x.tolist()
    alive = list(range(len(y)))
    for number, (layer, phi) in enumerate(zip(net.body.layers, mask.split(HIDDEN))):
        active = [k for k in range(len(phi)) if phi[k] == 1]
        z = {
            k: float(layer.bias[k]) + sum(float(layer.weight[k, j]) * y[j] for j in alive)
            for k in active
        }
        if number == 0 and net.body.norm == "first":
            mean = sum(z.values()) / len(z)
            variance = sum((v - mean) ** 2 for v in z.values()) / len(z)
            z = {k: math.tanh((v - mean) / math.sqrt(variance + 1e-5)) for k, v in z.items()}
        else:
            z = {k: v if v > 0 else 0.01 * v for k, v in z.items()}
        y = [z.get(k, 0.0) for k in range(len(phi))]
        alive = active
    return torch.tensor(y, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["first", "none"])
def test_features_are_equation_2(norm):
    net, x = policy(norm=norm), torch.randn(4, 5, dtype=torch.float64)
    mask = random_mask()
    expected = torch.stack([equation_2(net, row, mask) for row in x])
    torch.testing.assert_close(net.body(x, mask).detach(), expected, rtol=1e-12, atol=1e-12)


def test_no_mask_is_the_mask_of_ones():
    net, x = policy(), torch.randn(4, 5, dtype=torch.float64)
    ones = torch.ones(sum(HIDDEN), dtype=torch.float64)
    for a, b in zip(net(x), net(x, ones)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_masks_may_differ_within_a_batch():
    net, x = policy(), torch.randn(3, 5, dtype=torch.float64)
    masks = torch.stack([random_mask(seed) for seed in range(3)])
    together = net(x, masks)
    for i in range(3):
        alone = net(x[i], masks[i])
        for a, b in zip(together, alone):
            torch.testing.assert_close(a[i], b, rtol=1e-12, atol=1e-12)


def test_inactive_weights_have_no_influence_and_no_gradient():
    net, x = policy(), torch.randn(4, 5, dtype=torch.float64)
    mask = random_mask()
    loc, scale = net(x, mask)
    (loc.sum() + scale.sum()).backward()
    first = mask[: HIDDEN[0]] == 0
    assert (net.body.layers[0].weight.grad[first] == 0).all()
    assert (net.body.layers[1].weight.grad[:, first] == 0).all()
    with torch.no_grad():
        net.body.layers[0].weight[first] += 1.0
        net.body.layers[1].weight[:, first] -= 1.0
    torch.testing.assert_close(net(x, mask)[0], loc, rtol=0, atol=0)


@pytest.mark.parametrize("std", ["exp", "softplus"])
@pytest.mark.parametrize("squash", [True, False])
def test_heads(std, squash):
    net = policy(std=std, squash_mean=squash, log_std_range=(-5.0, 1.0))
    x, mask = 10 * torch.randn(50, 5, dtype=torch.float64), random_mask()
    features = net.body(x, mask)
    raw = features @ net.log_std.weight.T + net.log_std.bias
    log_std = -5.0 + 6.0 * torch.sigmoid(2 * raw)  # (tanh(z) + 1) / 2 = sigmoid(2 z)
    mean = features @ net.mean.weight.T
    loc, scale = net(x, mask)
    torch.testing.assert_close(loc, mean.tanh() if squash else mean)
    torch.testing.assert_close(scale, log_std.exp() if std == "exp" else F.softplus(log_std))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_extracted_network_computes_the_same_function(seed):
    torch.manual_seed(seed)
    net, mask, x = policy(), random_mask(seed), torch.randn(6, 5, dtype=torch.float64)
    small = extract(net, mask)
    assert small.hidden == tuple(int(m.sum()) for m in mask.split(HIDDEN))
    for a, b in zip(small(x), net(x, mask)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_extraction_shares_no_memory_and_draws_no_random_numbers():
    net, mask = policy(), random_mask()
    before, state = net.mean.weight.clone(), torch.get_rng_state()
    small = extract(net, mask)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    assert torch.equal(net.mean.weight, before)


def test_scatter_undoes_gather_and_touches_nothing_else():
    net, mask = policy(), random_mask()
    axes, active = unit_axes(net), active_rows(net, Share(mask > 0))
    weights = {k: p.detach().clone() for k, p in net.named_parameters()}
    cut = gather(weights, axes, active)
    zeroed = {k: v.clone() for k, v in weights.items()}
    scatter_(zeroed, {k: torch.full_like(v, 7.0) for k, v in cut.items()}, axes, active)
    for name, value in zeroed.items():
        assert int((value == 7.0).sum()) == cut[name].numel()
    scatter_(zeroed, cut, axes, active)
    for name, value in zeroed.items():
        assert torch.equal(value, weights[name])


def test_all_but_heads_of_several_are_shared():
    for heads in (1, 3):
        net = MetaPolicy(6, 2, (12, 9), heads=heads)
        own = {name for name, _ in net.named_parameters() if not net.is_shared(name)}
        assert own == ({"mean.weight", "log_std.weight", "log_std.bias"} if heads > 1 else set())


def test_heads_are_separate_networks_on_one_body():
    net = MetaPolicy(6, 2, (12, 9), heads=3)
    x = torch.randn(5, 6)
    one = MetaPolicy(6, 2, (12, 9))
    for head in range(3):
        rows = net.rows(head)
        state = {
            k: v[rows] if k.startswith(("mean", "log_std")) else v
            for k, v in net.state_dict().items()
        }
        one.load_state_dict(state)
        expected = one(x)
        share = Share(torch.ones(21, dtype=torch.bool), head)
        for got in (net(x, head=head), extract(net, share)(x)):
            for a, b in zip(got, expected):
                torch.testing.assert_close(a, b)


def test_a_layer_without_active_units_is_an_error_that_names_it():
    mask = random_mask()
    mask[HIDDEN[0] : HIDDEN[0] + HIDDEN[1]] = 0
    with pytest.raises(RunError, match=r"hidden layer 2: .*no active unit.*lmbda"):
        extract(policy(), mask)


def test_masked_layer_norm_is_layer_norm_of_the_active_units():
    x, keep = torch.randn(4, 10, dtype=torch.float64), [0, 3, 4, 8]
    mask = torch.zeros(10, dtype=torch.float64)
    mask[keep] = 1
    got = masked_layer_norm(x, mask)[:, keep]
    torch.testing.assert_close(got, F.layer_norm(x[:, keep], (4,)))


def test_squashed_samples_agree_with_torchrl():
    loc, scale = torch.randn(64, 4, dtype=torch.float64), torch.rand(64, 4).double() + 0.1
    noise = torch.randn(64, 4, dtype=torch.float64)
    action, log_prob = sample_squashed(loc, scale, noise)
    reference = TanhNormal(loc, scale)
    torch.testing.assert_close(action, torch.tanh(loc + scale * noise))
    inside = action.abs().amax(-1) < 0.999  # TorchRL clamps near the bounds
    assert inside.sum() > 20
    expected = reference.log_prob(action)
    torch.testing.assert_close(log_prob[inside], expected[inside], rtol=1e-6, atol=1e-6)


def test_initialisation_has_the_variance_asked_for():
    weight = variance_scaling_(torch.empty(2000, 500), scale=2.0)
    assert weight.var().item() == pytest.approx(2.0 / 500, rel=0.02)
    assert weight.abs().max().item() <= 2 * math.sqrt(2.0 / 500) / 0.8796 + 1e-6


def test_masked_mlp_stands_alone():
    mlp = MaskedMLP(3, [6, 4], activation="relu")
    mask = torch.tensor([1.0, 0, 1, 0, 1, 0, 0, 0, 1, 1])
    out = mlp(torch.randn(7, 3), mask)
    assert out.shape == (7, 4)
    assert (out[:, :2] == 0).all()
