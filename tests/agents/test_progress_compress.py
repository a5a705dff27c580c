"""Progress and compress: who trains when, and what the knowledge base is taught."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

import cotasp
from cotasp.agents.losses import imitation_loss
from cotasp.errors import RecipeError
from cotasp.methods.ewc import EWC
from cotasp.methods.freeze import Unprotected
from cotasp.methods.progress_compress import ProgressCompress
from cotasp.modules.policy import MetaPolicy
from cotasp.modules.specs import ActorSpec
from tests.agents.problems import ACT, OBS, learner, train, transitions

STATES = torch.randn(64, OBS, generator=torch.Generator().manual_seed(99))
ACTOR = ActorSpec(hidden=(48, 40), std="exp", head_scale=0.1, norm="none", heads="per_task")
ONLINE = EWC(weight=100.0, fisher="gaussian", decay=0.99, normalise=True, samples=16)


def made(compress: float = 0.5, protection=ONLINE, **changes):
    plain = {"code_updates": 0, "distillation_updates": 0, "actor": ACTOR}
    mask = ProgressCompress(compress=compress)
    return learner(mask=mask, protection=protection, **(plain | changes))


def weights(one) -> dict[str, torch.Tensor]:
    return {k: p.detach().clone() for k, p in one.actor.meta_policy.named_parameters()}


def in_base(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Rows of the knowledge base, by hand: 24 of 48 units, 20 of 40."""
    rows = {48: 24, 40: 20}[len(weight)]
    return torch.arange(len(weight)) < rows


def test_until_a_tasks_end_the_active_column_alone_trains_and_begins_anew():
    one = made()
    train(one, 0, steps=40)
    before = weights(one)
    one.start_task(1)
    begun = weights(one)
    one.learn(transitions(60, seed=1))
    one.actor.sub.write_back()
    for name, now in weights(one).items():
        if name.startswith("body."):
            base = in_base(name, now)
            assert torch.equal(now[base], before[name][base]), name
            assert not before[name][~base].any(), "what is not kept was set to 0"
            assert bool((now[~base] != begun[name][~base]).any()), name
            assert not name.endswith("weight") or bool(begun[name][~base].all()), name
        else:
            mine = one.actor.meta_policy.rows(1)
            assert torch.equal(now[~mine], before[name][~mine]), name
            assert bool((now[mine] != before[name][mine]).any()), name
    assert not now_back(one).any(), "nothing leads from the active column to the base"


def now_back(one) -> torch.Tensor:
    return one.actor.meta_policy.body.layers[1].weight.detach()[:20, 24:]


@torch.no_grad()
def base_alone(policy: MetaPolicy, task: int, x: torch.Tensor) -> torch.Tensor:
    """loc by a network of the base's units and no others, in float64."""
    x = x.double()
    for layer, (rows, columns) in zip(policy.body.layers, ((24, OBS), (20, 24))):
        weight, bias = layer.weight.double()[:rows, :columns], layer.bias.double()[:rows]
        x = F.leaky_relu(x @ weight.T + bias)
    return x @ policy.mean.weight.double()[policy.rows(task)][:, :20].T


@pytest.mark.parametrize("execution", ["compact", "dense"])
def test_a_task_keeps_the_base_which_has_learned_to_act_like_its_active_column(execution):
    one = made(compress=10.0, execution=execution, protection=Unprotected(), actor_average=0.9)
    one.start_task(0)
    data = transitions(100, seed=0)
    states = data["observation"]  # all that its memory holds
    one.learn(data)
    active = one.sub_network(0)
    before = one.updates
    with torch.no_grad():
        taught, untaught = active(states)[0], base_alone(one.actor.meta_policy, 0, states)
    one.end_task()
    assert one.updates == 11 * before
    kept = one.sub_network(0)(states)[0].detach()
    expected = base_alone(one.actor.meta_policy, 0, states)
    torch.testing.assert_close(kept.double(), expected, rtol=1e-4, atol=1e-6)
    assert not now_back(one).any()
    error, first = (kept - taught).norm(), (untaught - taught).norm()
    assert error < 0.3 * first, (error, first)
    assert one.actor.teacher is None


def test_the_loss_is_the_divergence_from_the_teacher_and_its_gradient_the_students_alone():
    """Against torch.distributions, in float64."""
    torch.manual_seed(0)
    student, teacher = (MetaPolicy(OBS, ACT, (9, 8), head_scale=1.0).double() for _ in range(2))
    x = STATES.double()
    loss = imitation_loss(student, teacher, x)
    pair = kl_divergence(Normal(*teacher(x)), Normal(*student(x)))
    expected = pair.sum(-1).mean()
    torch.testing.assert_close(loss, expected)
    mine = torch.autograd.grad(loss, list(student.parameters()))
    theirs = torch.autograd.grad(expected, list(student.parameters()))
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b)
    assert imitation_loss(student, student, x).item() == pytest.approx(0.0, abs=1e-12)


def test_consolidation_holds_the_base_back():
    """The same second task, with and without: the first task's policy moves less with it."""
    moved = []
    for protection in (Unprotected(), EWC(weight=1e6, fisher="gaussian", samples=32)):
        one = made(protection=protection)
        train(one, 0)
        before = one.sub_network(0)(STATES)[0].detach()
        train(one, 1)
        moved.append(float((one.sub_network(0)(STATES)[0].detach() - before).norm()))
    assert moved[1] < 0.5 * moved[0]


def test_what_it_does_not_go_with_is_refused():
    fits = "{mask: progress_compress, protection: ewc, actor: {norm: none, heads: per_task}}"
    cotasp.loads(fits)
    for setting, sentence in (
        ("actor.norm=first", r"actor.norm: expected none.*got first"),
        ("actor.heads=shared", r"actor.heads: expected per_task.*got shared"),
        ("actor.hidden=[1, 4]", r"actor.hidden: expected at least 2 units"),
        ("mask.compress=0", r"compress: expected in \(0, 10\], got 0"),
        (
            "agent={name: ppo}",
            r"mask: expected one whose tasks imitate nothing.*for PPO.*ProgressCompress",
        ),
    ):
        with pytest.raises(RecipeError, match=sentence):
            cotasp.loads(fits, [setting])
