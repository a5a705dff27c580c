"""Gradients of tasks that are learned together, projected off each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.methods.freeze import Unprotected
from cotasp.methods.pcgrad import PCGrad, projected
from cotasp.methods.protection import Now, check_parts
from cotasp.methods.trained import LossRows, gradients_by_task
from cotasp.modules.masks import Dense
from tests.agents.problems import learner, transitions

MARKS = [(1.0, 0.0), (0.0, 1.0)]


def by_the_formula(parts: np.ndarray, orders: list[list[int]]) -> np.ndarray:
    """Algorithm 1 of arXiv 2001.06782, row by row, in float64."""
    result = parts.copy()
    for i, order in enumerate(orders):
        for j in order:
            along = result[i] @ parts[j]
            if j != i and along < 0:
                result[i] -= along / (parts[j] @ parts[j]) * parts[j]
    return result


def test_the_projection_is_the_papers():
    parts = torch.randn(5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.Generator().manual_seed(1)
    orders = [torch.randperm(5, generator=order).tolist() for _ in range(5)]
    got = torch.stack(projected(list(parts), torch.Generator().manual_seed(1))).numpy()
    np.testing.assert_allclose(got, by_the_formula(parts.numpy(), orders), rtol=1e-12)
    assert not np.allclose(got, parts.numpy())


@pytest.mark.parametrize("conflict", [True, False])
def test_two_tasks_end_orthogonal_to_what_they_conflict_with_and_else_as_they_were(conflict):
    a, b = torch.tensor([3.0, 1.0]), torch.tensor([-1.0 if conflict else 1.0, 0.5])
    weights = {"w": torch.zeros(2)}
    parts = [{"w": a}, {"w": b}]
    now = Now(weights, {}, None, None, torch.Generator(), parts=lambda: parts)
    (got,) = PCGrad().transform({"w": a + b}, now).values()
    if not conflict:
        assert torch.equal(got, a + b)
        return
    expected = a - (a @ b) / (b @ b) * b + b - (a @ b) / (a @ a) * a
    torch.testing.assert_close(got, expected)


def test_parts_sum_to_the_gradient_of_the_whole():
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(4, dtype=torch.float64, generator=generator).requires_grad_()
    rows = torch.randn(9, 4, dtype=torch.float64, generator=generator)
    turns = torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1])
    observation = torch.cat([rows, torch.tensor(MARKS, dtype=torch.float64)[turns]], 1)

    def loss(places):
        return (rows[places] @ weight).square().mean()

    given = LossRows(observation, loss)
    one, other = gradients_by_task(given, MARKS * 2, {"w": weight})  # of two lessons
    (whole,) = torch.autograd.grad(loss(torch.arange(9)), weight)
    torch.testing.assert_close(one["w"] + other["w"], whole)
    (first,) = torch.autograd.grad(loss((turns == 0).nonzero()[:, 0]), weight)
    torch.testing.assert_close(one["w"], first / 3)


def made(protection, marks):
    one = learner(mask=Dense(), protection=protection, code_updates=0, distillation_updates=0)
    one.actor.gradients.marks = marks
    one.start_task(0)
    data = transitions(60, seed=4)
    turns = torch.tensor(MARKS)[torch.arange(60) // 20 % 2]
    data["observation"][:, -2:] = data["next", "observation"][:, -2:] = turns
    one.learn(data)
    return torch.cat([p.detach().flatten() for p in one.actor.sub.weights().values()])


def test_a_learner_steps_down_projected_gradients_where_tasks_are_together():
    plain = made(Unprotected(), MARKS)
    assert torch.equal(made(PCGrad(), ()), plain)
    assert torch.equal(made(PCGrad(), MARKS[:1] * 2), plain)  # a task alone
    assert not torch.equal(made(PCGrad(), MARKS), plain)


def test_where_each_is_learned_alone_it_is_refused():
    check_parts([PCGrad()], 2)
    with pytest.raises(RecipeError, match=r"PCGrad reconciles.*set stream\.together"):
        check_parts([PCGrad()], 1)
