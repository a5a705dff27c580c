"""TaDeLL: what tasks begin with, by scikit-learn and plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import sparse_encode
from torch.nn import functional as F

from cotasp.dictionaries import Dictionary
from cotasp.errors import RecipeError
from cotasp.methods.tadell import TaDeLL
from cotasp.modules.mask_capabilities import Past
from tests.agents.problems import learner, train

MASK = TaDeLL(atoms=4, lmbda=0.01)


def lasso(x, atoms, lmbda):
    return sparse_encode(x[None], atoms, algorithm="lasso_cd", alpha=lmbda, max_iter=10**6)[0]


def by_hand(mask: TaDeLL, past: Past) -> np.ndarray:
    """theta, flat: a task's row is coded and learned, one atom at a time (Mairal et al. 2009)."""
    rows = [
        np.concatenate([*(w.double().flatten().numpy() for w in weights.values()), e.numpy()])
        for weights, e in zip(past.weights, past.embeddings.double())
    ]
    m = len(past.embedding)
    D = Dictionary(mask.atoms, len(rows[0]), max_norm=mask.max_norm, seed=past.seed).atoms.numpy()
    A, B = np.zeros((mask.atoms, mask.atoms)), np.zeros((len(rows[0]), mask.atoms))
    for x in rows:
        s = lasso(x, D, mask.lmbda)
        A, B = A + np.outer(s, s), B + np.outer(x, s)
        assert (A.diagonal() > 1e-6).all()  # no atom is drawn anew
        for k in range(mask.atoms):
            u = D[k] + (B[:, k] - A[k] @ D) / A[k, k]
            D[k] = u / max(1.0, np.linalg.norm(u) / mask.max_norm)
    return lasso(past.embedding.double().numpy(), D[:, -m:], mask.lmbda) @ D[:, :-m]


def past(tasks: int, seed: int = 0, m: int = 6, size: int = 3) -> Past:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    texts = F.normalize(normal(tasks + 1, m).abs(), dim=1)
    weights = [{"a": normal(size, 2), "b": normal(size)} for _ in range(tasks)]
    return Past(texts[-1], texts[:-1], weights, seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_task_begins_as_its_text_combines_the_finished_ones(seed):
    of = past(3, seed)
    first = MASK.first_weights(of)
    assert list(first) == ["a", "b"]
    assert first["a"].shape == (3, 2)
    ours = torch.cat([first["a"].flatten(), first["b"]]).numpy()
    np.testing.assert_allclose(ours, by_hand(MASK, of), atol=1e-4)
    assert np.abs(ours).max() > 0.05


def test_a_text_that_is_known_brings_its_weights_back():
    of = past(3, m=384, size=100)
    tasks = torch.stack([w["a"].flatten() for w in of.weights])
    for task, text in enumerate(of.embeddings):
        first = TaDeLL().first_weights(replace(of, embedding=text))["a"].flatten()
        likeness = F.cosine_similarity(first[None], tasks)
        assert likeness[task] > 0.9
        assert likeness.sort().values[-2] < 0.5


def test_without_finished_tasks_or_a_code_a_task_begins_as_drawn():
    assert MASK.first_weights(replace(past(3), weights=[])) == {}
    assert replace(MASK, lmbda=1e6).first_weights(past(3)) == {}


def test_tasks_of_a_run_begin_there_and_are_kept():
    made = learner(mask=MASK, heads="per_task", code_updates=0, distillation_updates=0)
    train(made, 0)
    train(made, 1)
    kept = {k: v.clone() for k, v in made.actor.ownership.shares[0].own.items()}
    made.start_task(2)
    actor = made.actor
    shared = [
        {k: w for k, w in actor.ownership.shares[t].own.items() if actor.meta_policy.is_shared(k)}
        for t in (0, 1)
    ]
    of = Past(actor.embeddings[2], actor.embeddings[:2], shared, made.problem.seed)
    weights = dict(actor.meta_policy.named_parameters())
    first = MASK.first_weights(of)
    assert set(first) == set(shared[0])
    assert set(first) < set(weights)
    for name, weight in first.items():
        assert torch.equal(weights[name], weight)
    assert all(torch.equal(v, kept[k]) for k, v in actor.ownership.shares[0].own.items())


@pytest.mark.parametrize("wrong", [{"atoms": 0}, {"lmbda": 0.0}, {"max_norm": -1.0}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        replace(MASK, **wrong)
