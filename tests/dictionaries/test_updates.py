"""Update rules: the online pass against its formula, and what every rule refuses."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotasp.dictionaries import Dictionary, Frozen, Lazy, Online
from cotasp.dictionaries._online import block_pass
from cotasp.errors import RecipeError
from cotasp.registry import KINDS


def pairs(n, K, m, seed, density=0.2):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        embedding = torch.randn(m, generator=generator, dtype=torch.float64)
        code = torch.randn(K, generator=generator, dtype=torch.float64)
        on = torch.rand(K, generator=generator) < density
        yield embedding / embedding.norm(), code * on


def sequential_pass(D, A, B, max_norm):
    """Mairal et al. 2009, Algorithm 2, one atom at a time (the independent reference)."""
    D = D.clone()
    for k in range(len(D)):
        if A[k, k] > 1e-6:
            D[k] = D[k] + (B[:, k] - A[k] @ D) / A[k, k]
            D[k] = D[k] / max(1.0, D[k].norm().item() / max_norm)
    return D


@settings(max_examples=40, deadline=None)
@given(
    K=st.integers(1, 90),
    m=st.integers(1, 30),
    tasks=st.integers(1, 6),
    block=st.integers(1, 70),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    max_norm=st.sampled_from([0.3, 1.0, 50.0]),
    seed=st.integers(0, 999),
)
def test_blocked_pass_equals_the_loop(K, m, tasks, block, density, max_norm, seed):
    dictionary = Dictionary(K, m, max_norm=max_norm, seed=seed)
    for embedding, code in pairs(tasks, K, m, seed, density):
        dictionary.record(embedding, code)
    expected = sequential_pass(dictionary.atoms, dictionary.A, dictionary.B, max_norm)
    block_pass(dictionary, block=block)
    torch.testing.assert_close(dictionary.atoms, expected, atol=1e-10, rtol=0)


def test_online_equals_the_loop_at_paper_size_over_tasks():
    dictionary = Dictionary(1024, 384, seed=3)
    atoms, A, B = (x.clone() for x in (dictionary.atoms, dictionary.A, dictionary.B))
    rule = Online(unused="keep", forgetting=0.9)
    for embedding, code in pairs(2, 1024, 384, seed=5):
        rule(dictionary, embedding, 0.05 * code, lmbda=0.1)
        A = 0.9 * A + 0.0025 * torch.outer(code, code)
        B = 0.9 * B + 0.05 * torch.outer(embedding, code)
        atoms = sequential_pass(atoms, A, B, 1.0)
        torch.testing.assert_close(dictionary.atoms, atoms, atol=1e-10, rtol=0)


def test_nearly_unused_atoms_count_but_do_not_move():
    """0 < A_kk <= 1e-6: the atom stays, its share of A D does not vanish."""
    dictionary = Dictionary(3, 4, seed=0)
    code = torch.tensor([0.5, 5e-4, 0.0], dtype=torch.float64)
    before = dictionary.atoms.clone()
    dictionary.record(torch.ones(4, dtype=torch.float64), code)
    block_pass(dictionary)
    moved = before[0] + (0.5 - 0.25 * before[0] - 0.5 * 5e-4 * before[1]) / 0.25
    torch.testing.assert_close(dictionary.atoms[0], moved / moved.norm().clamp(min=1.0))
    assert torch.equal(dictionary.atoms[1:], before[1:])


def test_unused_atoms_are_kept_or_redrawn_around_the_embedding():
    embedding = 3 + torch.arange(8, dtype=torch.float64)
    code = torch.zeros(2000, dtype=torch.float64)
    code[:10] = 1.0
    kept, redrawn = (Dictionary(2000, 8, max_norm=1e3) for _ in range(2))
    before = kept.atoms.clone()
    Online(unused="keep")(kept, embedding, code, lmbda=0.1)
    Online(unused="resample")(redrawn, embedding, code, lmbda=0.1)
    assert torch.equal(kept.atoms[10:], before[10:])
    assert torch.equal(kept.atoms[:10], redrawn.atoms[:10])
    noise = redrawn.atoms[10:] - embedding
    assert noise.mean().abs() < 0.1
    assert noise.std() == pytest.approx(float(embedding.std(correction=0)), rel=0.02)


def test_lazy_loses_no_statistics():
    every, lazy = Dictionary(30, 8), Dictionary(30, 8)
    rule = Lazy(every=3, rule=Online(unused="keep", forgetting=0.8))
    start = lazy.atoms.clone()
    for number, (embedding, code) in enumerate(pairs(6, 30, 8, seed=1), start=1):
        Online(unused="keep", forgetting=0.8)(every, embedding, code, lmbda=0.1)
        expected = lazy.atoms.clone()
        rule(lazy, embedding, code, lmbda=0.1)
        torch.testing.assert_close(lazy.A, every.A)
        torch.testing.assert_close(lazy.B, every.B)
        if number % 3 == 0:
            expected = sequential_pass(expected, every.A, every.B, 1.0)
        torch.testing.assert_close(lazy.atoms, expected, atol=1e-10, rtol=0)
    assert not torch.equal(lazy.atoms, start)


def test_frozen_atoms_never_change():
    dictionary = Dictionary(30, 8)
    before = dictionary.atoms.clone()
    for embedding, code in pairs(3, 30, 8, seed=1):
        Frozen()(dictionary, embedding, code, lmbda=0.1)
    assert torch.equal(dictionary.atoms, before)


@pytest.mark.parametrize("name", KINDS["update"].names())
class TestEveryRule:
    @pytest.mark.parametrize("lmbda", [0.0, -1.0, float("nan"), float("inf"), "0.1"])
    def test_refuses_lmbda(self, name, lmbda):
        dictionary = Dictionary(40, 16)
        with pytest.raises(RecipeError, match="lmbda: expected a positive number"):
            KINDS["update"].make(name)(dictionary, torch.ones(16), torch.ones(40), lmbda=lmbda)
        assert dictionary.n_recorded == 0

    def test_refuses_what_does_not_fit(self, name):
        dictionary = Dictionary(40, 16)
        with pytest.raises(RecipeError, match="embedding: expected finite"):
            KINDS["update"].make(name)(
                dictionary, torch.full((16,), float("nan")), torch.ones(40), lmbda=0.1
            )
        with pytest.raises(RecipeError, match=r"code: expected shape \[40\], got \[39\]"):
            KINDS["update"].make(name)(dictionary, torch.ones(16), torch.ones(39), lmbda=0.1)
        with pytest.raises(RecipeError, match=r"embedding: expected a floating tensor, got list"):
            KINDS["update"].make(name)(dictionary, [1.0] * 16, [1.0] * 40, lmbda=0.1)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("online", {"unused": "drop"}, "Online.unused: expected resample or keep, got 'drop'"),
        ("online", {"forgetting": 0.0}, r"Online.forgetting: expected in \(0, 1\], got"),
        ("online", {"forgetting": 1.5}, "Online.forgetting"),
        ("anchored", {"codes": "kept"}, "Anchored.codes: expected auto or trained or fitted"),
        ("anchored", {"tol": 0.0}, "Anchored.tol"),
        ("anchored", {"margin": 1.1}, "Anchored.margin"),
        ("anchored", {"reach": -0.1}, "Anchored.reach"),
        ("anchored", {"floor": 0.0}, "Anchored.floor"),
        ("anchored", {"max_iter": 0}, "Anchored.max_iter: expected at least 1, got 0"),
        ("lazy", {"every": 0}, "Lazy.every: expected at least 1, got 0"),
    ],
)
def test_fields_out_of_range_are_named(name, fields, message):
    with pytest.raises(RecipeError, match=message):
        KINDS["update"].make(name, **fields)


def test_rules_are_light_to_import():
    code = (
        "import sys, cotasp.dictionaries.updates as u; u.Anchored(); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False"]
