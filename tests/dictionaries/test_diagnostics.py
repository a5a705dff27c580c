"""The figures of a dictionary, against SciPy, NumPy and cases one can do by hand."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from cotasp.dictionaries import Dictionary, Frozen, sparse_encode
from cotasp.dictionaries.diagnostics import (
    alignment,
    change,
    coherence,
    diagnostics,
    jaccard,
    kkt_residual,
)


def test_jaccard_by_hand():
    a = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    b = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)
    assert jaccard(a, b).tolist() == pytest.approx([1 / 3, 1.0, 0.0])


@pytest.mark.parametrize("seed", range(5))
def test_alignment_is_a_correlation(seed):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    masks = torch.rand(7, 6, generator=generator) < 0.5  # few neurons: many ties
    unit = (embeddings / embeddings.norm(dim=1, keepdim=True)).numpy()
    pairs = [(i, j) for i in range(7) for j in range(i)]
    cosines = [unit[i] @ unit[j] for i, j in pairs]
    on = [set(np.flatnonzero(row)) for row in masks.numpy()]
    overlaps = [len(on[i] & on[j]) / max(1, len(on[i] | on[j])) for i, j in pairs]
    expected = scipy.stats.spearmanr(cosines, overlaps).statistic
    assert alignment(embeddings, masks) == pytest.approx(expected, abs=1e-9)
    expected = np.corrcoef(cosines, overlaps)[0, 1]
    assert alignment(embeddings, masks, ranked=False) == pytest.approx(expected, abs=1e-9)


def test_alignment_of_too_few_or_equal_tasks_is_undefined():
    assert math.isnan(alignment(torch.eye(2), torch.ones(2, 4, dtype=torch.bool)))
    assert math.isnan(alignment(torch.eye(4), torch.rand(4, 9) < 0.5))


def test_change_and_coherence_by_hand():
    atoms = torch.tensor([[3.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    assert coherence(atoms) == pytest.approx(math.sqrt(0.5))
    assert change(torch.eye(2) * 1.5, torch.eye(2)) == pytest.approx(0.5)


def test_kkt_residual_by_hand():
    dictionary = Dictionary(2, 2)
    dictionary.atoms.copy_(torch.eye(2))
    code = torch.tensor([1.0, 0.0], dtype=torch.float64)
    dictionary.record(torch.tensor([1.2, -0.5], dtype=torch.float64), code)
    # g = (0.2, -0.5): 0.2 - 0.1 on the support, 0.5 - 0.1 off it.
    assert kkt_residual(dictionary, code[None], lmbda=0.1).item() == pytest.approx(0.4)


def test_report_of_a_frozen_dictionary():
    dictionary, embeddings = Dictionary(60, 20), torch.eye(20, dtype=torch.float64)[:4]
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=0.2).code
    for embedding, code in zip(embeddings, codes):
        Frozen()(dictionary, embedding, code, lmbda=0.2)
    report = diagnostics(dictionary, lmbda=0.2, previous=dictionary.atoms)
    assert report["recall"] == report["recall_min"] == 1.0
    assert report["kkt"] <= 1e-9
    assert report["change"] == 0.0
    never = (codes.abs().amax(dim=0) <= 1e-3).double().mean().item()
    assert report["unused"] == pytest.approx(never)
    assert all(isinstance(value, float) for value in report.values())
    assert math.isnan(diagnostics(dictionary, lmbda=0.2)["change"])


def test_report_sees_a_forgotten_prompt():
    dictionary, embeddings = Dictionary(60, 20), torch.eye(20, dtype=torch.float64)[:2]
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=0.2).code
    codes[1] = codes[1].clamp(max=0.0)  # training switched everything off
    for embedding, code in zip(embeddings, codes):
        Frozen()(dictionary, embedding, code, lmbda=0.2)
    report = diagnostics(dictionary, lmbda=0.2)
    assert report["recall_min"] == 0.0
    assert report["recall"] == 0.5
    assert report["kkt"] > 1e-3
