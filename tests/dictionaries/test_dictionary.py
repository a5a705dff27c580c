"""The dictionary: first atoms, statistics, memory, checkpoints, refusals."""

import pytest
import torch
from torch import nn

from cotasp.dictionaries import Dictionary, Online
from cotasp.errors import RecipeError


def pair(seed, K=12, m=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(m, generator=generator, dtype=dtype)
    code = torch.randn(K, generator=generator, dtype=dtype)
    return embedding, code * (code > 0.5)


@pytest.mark.parametrize("max_norm", [0.5, 1.0, 2.5])
def test_random_atoms_are_clipped_normal_rows(max_norm):
    dictionary = Dictionary(500, 3, max_norm=max_norm, seed=4)
    norms = dictionary.atoms.norm(dim=1)
    assert dictionary.atoms.dtype == torch.float64
    assert (norms <= max_norm * (1 + 1e-12)).all()
    # P(|N(0, I_3)| < c) of rows stay as drawn: the chi distribution with 3 degrees of freedom.
    inside = torch.special.gammainc(torch.tensor(1.5), torch.tensor(max_norm**2 / 2))
    assert (norms < max_norm * (1 - 1e-9)).double().mean().item() == pytest.approx(
        float(inside), abs=0.07
    )


def test_seed_decides_the_atoms():
    assert torch.equal(Dictionary(9, 4, seed=1).atoms, Dictionary(9, 4, seed=1).atoms)
    assert not torch.equal(Dictionary(9, 4, seed=1).atoms, Dictionary(9, 4, seed=2).atoms)


def test_svd_atoms_are_the_data_directions_strongest_first():
    data = torch.randn(4, 10, dtype=torch.float64)
    dictionary = Dictionary(20, 10, init="svd", data=data, max_norm=0.7, seed=3)
    first, rest = dictionary.atoms[:4], dictionary.atoms[4:]
    torch.testing.assert_close(first @ first.T, 0.49 * torch.eye(4, dtype=torch.float64))
    # Eigenvectors of the data's scatter matrix, by decreasing eigenvalue.
    values = torch.linalg.eigvalsh(data.T @ data).flip(0)[:4]
    torch.testing.assert_close((data.T @ data @ first.T).T, values[:, None] * first)
    assert torch.equal(rest, Dictionary(20, 10, max_norm=0.7, seed=3).atoms[4:])


def test_leaning_atoms_are_unit_rows_nearer_to_the_span_of_the_data():
    data = torch.nn.functional.normalize(torch.randn(5, 40, dtype=torch.float64), dim=1)
    leaning = Dictionary(200, 40, init="texts", data=data, max_norm=0.7, seed=3)
    torch.testing.assert_close(leaning.atoms.norm(dim=1), torch.full((200,), 0.7).double())
    assert torch.equal(
        leaning.atoms, Dictionary(200, 40, init="texts", data=data, max_norm=0.7, seed=3).atoms
    )
    basis = torch.linalg.qr(data.mT).Q  # [40, 5]

    def share(atoms):  # of the squared norm that lies in the span; 5/40 for random directions
        return float(((atoms @ basis).square().sum(1) / atoms.square().sum(1)).mean())

    assert share(Dictionary(200, 40, seed=3).atoms) == pytest.approx(5 / 40, abs=0.02)
    # (1 - a)u + av with u random and v in the span: a² of the whole, beside u's share
    expected = (0.64 * 5 / 40 + 0.04) / (0.64 + 0.04)
    assert share(leaning.atoms) == pytest.approx(expected, abs=0.02)


def test_svd_of_more_directions_than_atoms_keeps_the_strongest():
    data = torch.diag(torch.tensor([1.0, 5.0, 3.0]))
    atoms = Dictionary(2, 3, init="svd", data=data).atoms
    torch.testing.assert_close(atoms.abs(), torch.eye(3, dtype=torch.float64)[[1, 2]])


def test_record_sums_statistics_and_keeps_the_latest_code_of_a_text():
    dictionary, gamma = Dictionary(12, 5), 0.5
    (e, first), (other, second), (_, third) = pair(1), pair(2), pair(3)
    for embedding, code in ((e, first), (other, second), (e, third)):
        dictionary.record(embedding, code, forgetting=gamma)
    weights = [(0.25, e, first), (0.5, other, second), (1.0, e, third)]
    torch.testing.assert_close(dictionary.A, sum(w * torch.outer(s, s) for w, _, s in weights))
    torch.testing.assert_close(dictionary.B, sum(w * torch.outer(x, s) for w, x, s in weights))
    assert torch.equal(dictionary.embeddings, torch.stack([e, other]))
    assert torch.equal(dictionary.codes, torch.stack([third, second]))
    assert dictionary.n_recorded == 3


def test_record_takes_single_precision_and_changes_no_input():
    dictionary = Dictionary(12, 5)
    embedding, code = (x.requires_grad_() for x in pair(1, dtype=torch.float32))
    copies = embedding.detach().clone(), code.detach().clone()
    dictionary.record(embedding, code)
    assert torch.equal(embedding, copies[0])
    assert torch.equal(code, copies[1])
    assert not dictionary.codes.requires_grad
    assert torch.equal(dictionary.codes[0], code.detach().double())


def test_checkpoint_restores_a_grown_memory_and_the_draws_to_come():
    original = nn.ModuleDict({"layer": Dictionary(12, 5, seed=7)})
    rule = Online()
    for seed in range(3):
        rule(original["layer"], *pair(seed), lmbda=0.1)
    fresh = nn.ModuleDict({"layer": Dictionary(12, 5, seed=0)})
    fresh["layer"].record(*pair(9))
    fresh.load_state_dict(original.state_dict())
    for module in (original, fresh):
        rule(module["layer"], *pair(5), lmbda=0.1)
    for name, value in original.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name
    assert len(fresh["layer"].codes) == 4


def test_atoms_and_statistics_are_written_in_place():
    dictionary, other = Dictionary(12, 5), Dictionary(12, 5, seed=1)
    before = {name: getattr(dictionary, name).data_ptr() for name in ("atoms", "A", "B")}
    Online()(dictionary, *pair(1), lmbda=0.1)
    dictionary.load_state_dict(other.state_dict())
    assert before == {name: getattr(dictionary, name).data_ptr() for name in before}
    assert torch.equal(dictionary.atoms, other.atoms)


def test_checkpoint_of_another_size_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        Dictionary(12, 5).load_state_dict(Dictionary(13, 5).state_dict())
    recorded = Dictionary(12, 6)
    recorded.record(*pair(1, m=6))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Dictionary(12, 5).load_state_dict(recorded.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_components": 0}, "n_components: expected at least 1, got 0"),
        ({"n_features": -1}, "n_features: expected at least 1, got -1"),
        ({"max_norm": 0.0}, "max_norm: expected above 0, got 0.0"),
        ({"max_norm": float("nan")}, "max_norm: expected a finite number, got nan"),
        ({"max_norm": "1"}, r"^Dictionary\.max_norm: expected a finite number, got '1'"),
        ({"n_components": 2.5}, r"^Dictionary\.n_components: expected an integer, got 2\.5"),
        ({"n_features": "3"}, r"^Dictionary\.n_features: expected an integer, got '3'"),
        ({"seed": 1.5}, r"^Dictionary\.seed: expected an integer, got 1\.5"),
        ({"init": "sdv"}, "init: expected random, svd or texts, got 'sdv'"),
        ({"init": "svd"}, "data: give embeddings exactly when"),
        ({"init": "texts"}, "data: give embeddings exactly when"),
        ({"data": torch.ones(2, 5)}, "data: give embeddings exactly when"),
        ({"init": "svd", "data": torch.ones(2, 4)}, r"data: expected shape \['n', 5\], got"),
        ({"init": "svd", "data": torch.full((2, 5), float("inf"))}, "data: expected finite"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(RecipeError, match=message):
        Dictionary(**{"n_components": 12, "n_features": 5, **arguments})


@pytest.mark.parametrize(
    ("embedding", "code", "message"),
    [
        (torch.ones(4), torch.ones(12), r"embedding: expected shape \[5\], got \[4\]"),
        (torch.ones(5), torch.ones(1, 12), r"code: expected shape \[12\], got \[1, 12\]"),
        (torch.ones(5, dtype=torch.int64), torch.ones(12), "embedding: expected a floating"),
        (torch.ones(5), [1.0] * 12, "code: expected a floating tensor, got list"),
        (torch.ones(5), torch.full((12,), float("nan")), "code: expected finite numbers"),
    ],
)
def test_bad_pairs_are_refused_and_leave_no_trace(embedding, code, message):
    dictionary = Dictionary(12, 5)
    before = {name: value.clone() for name, value in dictionary.state_dict().items()}
    with pytest.raises(RecipeError, match=message):
        dictionary.record(embedding, code)
    for name, value in dictionary.state_dict().items():
        assert torch.equal(value, before[name])
