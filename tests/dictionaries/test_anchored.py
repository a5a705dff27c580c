"""The anchored update: what it promises, against independent references."""

import warnings

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cotasp.dictionaries import Anchored, Dictionary, sparse_encode
from cotasp.dictionaries._least_change import (
    Conditions,
    Point,
    following_step,
    least_step,
    per_atom_inverse,
)
from cotasp.dictionaries._nearby import NearbyCodes
from cotasp.dictionaries.anchored import anchor, fit_codes
from cotasp.errors import ConvergenceWarning


def texts(n, m, seed, similarity=0.5):
    """Unit vectors with a common part, as embeddings of related texts have."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, m, generator=generator, dtype=torch.float64)
    rows = rows + similarity * torch.randn(m, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def trained(code, seed, off=0.1, drift=0.1):
    """What training makes of a code: a tenth of the active neurons off, the others changed."""
    generator = torch.Generator().manual_seed(seed)
    active = (code > 0).nonzero().flatten()
    order = torch.randperm(len(active), generator=generator)
    noise = torch.randn(len(active), generator=generator, dtype=code.dtype)
    code = code.clone()
    code[active] *= (1 + drift * noise).clamp(min=0.1)
    code[active[order[: max(1, round(off * len(active)))]]] = 0.0
    return code


def lasso_violation(atoms, embeddings, codes, lmbda):
    """Optimality of the lasso, row by row, in NumPy (the independent reference)."""
    worst = []
    for e, s in zip(embeddings.numpy(), codes.numpy()):
        g = atoms.numpy() @ (e - s @ atoms.numpy())
        on = s != 0
        wrong = np.abs(g[on] - lmbda * np.sign(s[on]))
        worst.append(max(wrong.max(initial=0.0), (np.abs(g[~on]) - lmbda).max(initial=0.0)))
    return max(worst) / lmbda


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 6),
    share=st.floats(0.15, 0.6),
    similarity=st.sampled_from([0.0, 0.5, 1.0]),
    codes=st.sampled_from(["trained", "fitted", "auto"]),
    seed=st.integers(0, 999),
)
def test_every_remembered_code_is_the_lasso_of_its_text(n, share, similarity, codes, seed):
    dictionary = Dictionary(96, 48, seed=seed)
    embeddings = texts(n, 48, seed + 1000, similarity)
    lmbda = share * float((embeddings @ dictionary.atoms.T).abs().max(dim=1).values.min())
    masks = []
    for number, embedding in enumerate(embeddings):
        code = sparse_encode(embedding[None], dictionary.atoms, lmbda=lmbda).code[0]
        code = trained(code, seed + number)
        masks.append(code > 0)
        Anchored(codes=codes)(dictionary, embedding, code, lmbda=lmbda)
    assert lasso_violation(dictionary.atoms, embeddings, dictionary.codes, lmbda) <= 1e-6
    recalled = sparse_encode(embeddings, dictionary.atoms, lmbda=lmbda).code
    assert torch.equal(recalled > 0, torch.stack(masks))
    assert (dictionary.atoms.norm(dim=1) <= 1 + 1e-12).all()


def test_trained_codes_come_back_to_the_digit():
    dictionary = Dictionary(96, 48)
    embeddings, codes = texts(4, 48, seed=1), []
    for number, embedding in enumerate(embeddings):
        code = sparse_encode(embedding[None], dictionary.atoms, lmbda=0.05).code[0]
        codes.append(trained(code, number))
        Anchored(codes="trained", tol=1e-9)(dictionary, embedding, codes[-1], lmbda=0.05)
    recalled = sparse_encode(embeddings, dictionary.atoms, lmbda=0.05).code
    torch.testing.assert_close(recalled, torch.stack(codes), atol=1e-7, rtol=0)
    assert torch.equal(dictionary.codes, torch.stack(codes))


def test_change_is_the_least_there_is():
    """Against a general constrained optimiser (SLSQP), on a problem small enough for it."""
    K, m, lmbda, margin = 7, 5, 0.25, 0.95
    dictionary = Dictionary(K, m, seed=2)
    embedding = texts(1, m, seed=3)
    code = sparse_encode(embedding, dictionary.atoms, lmbda=lmbda).code
    codes = code * 1.1
    start, s, e = dictionary.atoms.numpy(), codes.numpy()[0], embedding.numpy()[0]
    on = s != 0
    assert 0 < on.sum() < m

    def correlations(flat):
        D = flat.reshape(K, m)
        return D @ (e - s @ D)

    reference = scipy.optimize.minimize(
        lambda flat: ((flat - start.ravel()) ** 2).sum(),
        start.ravel(),
        jac=lambda flat: 2 * (flat - start.ravel()),
        constraints=[
            {"type": "eq", "fun": lambda x: (correlations(x) - lmbda * np.sign(s))[on]},
            {"type": "ineq", "fun": lambda x: margin * lmbda - correlations(x)[~on]},
            {"type": "ineq", "fun": lambda x: margin * lmbda + correlations(x)[~on]},
            {"type": "ineq", "fun": lambda x: 1 - (x.reshape(K, m) ** 2).sum(axis=1)},
        ],
        options={"maxiter": 500, "ftol": 1e-14},
    )
    assert reference.success
    result = anchor(dictionary.atoms, embedding, codes, lmbda=lmbda, margin=margin, tol=1e-8)
    assert result.converged
    change = float((result.atoms - dictionary.atoms).norm())
    assert change == pytest.approx(np.sqrt(reference.fun), rel=0.02)


def test_an_atom_equal_to_the_text_leaves_the_sphere():
    """Turning it does not change d . e to first order: it must shrink."""
    atoms = torch.eye(4, dtype=torch.float64)
    result = anchor(atoms, atoms[:1], torch.zeros_like(atoms[:1]), lmbda=0.5, margin=0.9)
    expected = torch.diag(torch.tensor([0.45, 1.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(result.atoms, expected)


def test_atoms_that_already_agree_do_not_move():
    dictionary = Dictionary(96, 48)
    embeddings = texts(3, 48, seed=1)
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=0.05).code
    result = anchor(dictionary.atoms, embeddings, codes, lmbda=0.05)
    assert torch.equal(result.atoms, dictionary.atoms)
    assert (result.n_iter, result.converged) == (0, True)


def test_inputs_are_not_modified():
    dictionary, embeddings = Dictionary(96, 48), texts(3, 48, seed=1)
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=0.05).code
    codes = torch.stack([trained(code, 1) for code in codes])
    inputs = dictionary.atoms, embeddings, codes
    copies = [x.clone() for x in inputs]
    anchor(*inputs, lmbda=0.05)
    fit_codes(*inputs, lmbda=0.05)
    assert all(torch.equal(x, copy) for x, copy in zip(inputs, copies))


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.05, 0.6), seed=st.integers(0, 999))
@example(share=0.05078125, seed=220)
def test_fitted_codes_solve_the_lasso_under_the_mask(share, seed):
    """The conditions of the constrained problem: gradient signs at the bounds, zero between."""
    dictionary, embedding, floor = Dictionary(96, 48, seed=seed), texts(1, 48, seed), 1e-3
    lmbda = share * float((embedding @ dictionary.atoms.T).abs().max())
    code = sparse_encode(embedding, dictionary.atoms, lmbda=lmbda).code
    wandered = trained(code[0], seed, off=0.3, drift=5.0)[None]
    wandered[0, (wandered[0] == 0) & (code[0] > 0)] = -0.01  # training overshoots when it stops
    s = fit_codes(dictionary.atoms, embedding, wandered, lmbda=lmbda, floor=floor)[0]
    mask = wandered[0] > 0
    assert torch.equal(s > 0, mask)
    if (s != 0).sum() >= int(0.95 * 48):  # the support was cut: what is left off breaks the rest
        assert (s != 0).sum() == max(int(0.95 * 48), int(mask.sum()))
        return
    g = dictionary.atoms @ (embedding[0] - s @ dictionary.atoms)
    assert (s[mask] >= floor).all()
    slack = 1e-8 * lmbda
    assert ((g - lmbda)[mask & (s > floor)].abs() <= slack).all()
    assert ((g - lmbda)[mask & (s == floor)] <= slack).all()
    assert ((g + lmbda)[s < 0].abs() <= slack).all()
    assert ((g + lmbda)[~mask] >= -slack).all()


def test_fitted_support_leaves_the_lasso_unique():
    """At small lambda a lasso uses all m directions; more elements would not be identified."""
    dictionary, embedding = Dictionary(96, 48), texts(1, 48, seed=1)
    code = sparse_encode(embedding, dictionary.atoms, lmbda=1e-4).code
    assert (code != 0).sum() > 0.95 * 48 - 2
    s = fit_codes(dictionary.atoms, embedding, trained(code[0], 0, off=0.5)[None], lmbda=1e-4)
    assert (s != 0).sum() <= 0.95 * 48


def test_codes_out_of_reach_are_remembered_by_their_mask():
    dictionary, embedding = Dictionary(96, 48), texts(1, 48, seed=1)[0]
    code = sparse_encode(embedding[None], dictionary.atoms, lmbda=0.05).code[0]
    wandered = torch.where(trained(code, 0) > 0, torch.ones_like(code), code.clamp(max=0.0))
    before = dictionary.atoms.clone()
    Anchored()(dictionary, embedding, wandered, lmbda=0.05)
    assert (dictionary.atoms - before).norm() <= 0.05 * before.norm()
    recalled = sparse_encode(embedding[None], dictionary.atoms, lmbda=0.05).code[0]
    assert torch.equal(recalled > 0, wandered > 0)
    torch.testing.assert_close(recalled, dictionary.codes[0], atol=1e-6, rtol=0)


def test_a_contradiction_warns_and_costs_no_other_text():
    """One text under two nearly equal embeddings cannot have two masks."""
    dictionary, embeddings, lmbda = Dictionary(96, 48), texts(4, 48, seed=1), 0.05
    for number, embedding in enumerate(embeddings):
        code = sparse_encode(embedding[None], dictionary.atoms, lmbda=lmbda).code[0]
        Anchored()(dictionary, embedding, trained(code, number), lmbda=lmbda)
    masks = dictionary.codes > 0
    twin = embeddings[0] + 1e-9
    other = torch.where(masks[0], 0.0, dictionary.codes[1].abs())
    with pytest.warns(ConvergenceWarning, match="Anchored: 1 of 5 remembered"):
        Anchored()(dictionary, twin, other, lmbda=lmbda)
    recalled = sparse_encode(embeddings, dictionary.atoms, lmbda=lmbda).code > 0
    overlap = (recalled & masks).sum(dim=1) / (recalled | masks).sum(dim=1)
    assert (overlap[1:] == 1).all()
    assert overlap[0] == 1


def test_paper_size_converges_without_a_warning():
    dictionary, embeddings, lmbda = Dictionary(1024, 384), texts(3, 384, seed=1), 0.02
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, embedding in enumerate(embeddings):
            code = sparse_encode(embedding[None], dictionary.atoms, lmbda=lmbda).code[0]
            Anchored()(dictionary, embedding, trained(code, number).float(), lmbda=lmbda)
    assert lasso_violation(dictionary.atoms, embeddings, dictionary.codes, lmbda) <= 1e-6


def test_a_step_is_the_smallest_where_atoms_serve_every_text_or_none():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n, K, m = 6, 12, 24
    atoms, residuals, wanted = 0.1 * normal(K, m), normal(n, m), normal(n, K)
    active = torch.zeros(n, K, dtype=torch.bool)
    active[:, :3] = True
    codes = normal(n, K) * active
    point = Point(atoms, residuals, wanted, active, torch.zeros(n, dtype=torch.float64))
    inward = torch.zeros(K, 1, dtype=torch.bool)
    blocks = per_atom_inverse(point, active, codes)
    step, _ = least_step(point, active, inward, codes, 1.0, 9.0, blocks, 1e-2)

    def conditions(X):  # of D + X, to first order
        return (residuals @ X.T - codes @ X @ atoms.T)[active]

    jacobian = torch.autograd.functional.jacobian(conditions, torch.zeros_like(atoms))
    least = torch.linalg.pinv(jacobian.reshape(-1, K * m)) @ wanted[active]
    assert (step.flatten() - least).norm() < 0.1 * least.norm()


def test_blocks_of_texts_that_agree_can_be_factored():
    """Here all residuals and codes are the same, so that every block has rank 1 or 2."""
    generator = torch.Generator().manual_seed(0)
    atoms, residual = torch.randn(2, 5, 16, generator=generator, dtype=torch.float64)
    n = 200
    residuals, codes = residual[:1].expand(n, -1), torch.ones(n, 5, dtype=torch.float64)
    active = torch.ones(n, 5, dtype=torch.bool)
    point = Point(atoms, residuals, codes, active, torch.zeros(n, dtype=torch.float64))
    solved = per_atom_inverse(point, active, codes)(torch.ones(n, 5))
    assert solved.isfinite().all()
    assert (solved > 0).all()  # of a constant, a smaller constant


def test_codes_take_up_what_is_left_and_masks_stay():
    """A change of 2 % of a text's largest code spares steps; all else is as without."""
    dictionary, embeddings, lmbda = Dictionary(128, 64), texts(6, 64, seed=3), 0.05
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=lmbda).code
    codes = torch.stack([trained(code, seed) for seed, code in enumerate(codes)])
    exact = anchor(dictionary.atoms, embeddings, codes, lmbda=lmbda)
    near = anchor(dictionary.atoms, embeddings, codes, lmbda=lmbda, give=0.02)
    assert exact.converged
    assert near.converged
    assert near.n_iter < exact.n_iter
    assert torch.equal(exact.codes, codes)
    assert torch.equal(near.codes > 0, codes > 0)
    moved = (near.codes - codes).abs().amax(dim=1) / codes.abs().amax(dim=1)
    assert 0 < moved.max() <= 0.02
    assert lasso_violation(near.atoms, embeddings, near.codes, lmbda) <= 1e-6
    recalled = sparse_encode(embeddings, near.atoms, lmbda=lmbda).code
    torch.testing.assert_close(recalled, near.codes, atol=1e-6, rtol=0)
    changes = [(made.atoms - dictionary.atoms).norm() for made in (near, exact)]
    assert changes[0] < 1.01 * changes[1]


def test_nearby_codes_are_the_lasso_under_the_mask():
    """Against `fit_codes`, which solves the same from nothing."""
    dictionary, embeddings, lmbda = Dictionary(96, 48), texts(5, 48, seed=4), 0.1
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=lmbda).code
    off = torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < 0.1
    codes = codes.masked_fill(off & (codes > 0), 0.0)
    expected = fit_codes(dictionary.atoms, embeddings, codes, lmbda=lmbda, floor=1e-3)
    least = torch.where(codes > 0, 1e-3, 0.0)
    near = NearbyCodes(embeddings, codes, lmbda=lmbda, least=least).at(dictionary.atoms)
    torch.testing.assert_close(near, expected, atol=1e-7, rtol=0)


def test_nearby_codes_follow_atoms_that_move():
    """With the factors of before, as exactly as from nothing."""
    dictionary, embeddings, lmbda = Dictionary(96, 48), texts(5, 48, seed=4), 0.1
    codes = sparse_encode(embeddings, dictionary.atoms, lmbda=lmbda).code
    least = torch.where(codes > 0, 1e-3, 0.0)
    nearby = NearbyCodes(embeddings, codes, lmbda=lmbda, least=least)
    nearby.at(dictionary.atoms)
    for size in (1e-4, 1e-2, 1e-1):
        noise = torch.randn(96, 48, generator=torch.Generator().manual_seed(1)).double()
        atoms = dictionary.atoms + size / 48**0.5 * noise
        expected = fit_codes(atoms, embeddings, codes, lmbda=lmbda, floor=1e-3)
        torch.testing.assert_close(nearby.at(atoms), expected, atol=1e-7, rtol=0)


def test_a_following_step_is_the_smallest_there_is():
    """Against the derivative of correlations whose codes are solved anew, by autograd."""
    dictionary, lmbda, margin = Dictionary(12, 8, seed=1), 0.1, 0.95
    embeddings, atoms = texts(2, 8, seed=5), dictionary.atoms
    codes = sparse_encode(embeddings, atoms, lmbda=lmbda, positive=True).code
    small, close = torch.zeros(2, 2, 12, dtype=torch.bool)
    small[0, int(codes[0].argmax())] = close[1, int((codes[1] == 0).nonzero()[0])] = True
    held = codes.masked_fill(small, 0.01)
    supports = [((code != 0) & ~low).nonzero().flatten() for code, low in zip(codes, small)]

    def solved(D):
        for e, code, A in zip(embeddings, held, supports):
            rest = e - code.index_fill(0, A, 0.0) @ D
            on_A = torch.linalg.solve(D[A] @ D[A].T, D[A] @ rest - lmbda)
            yield code.index_put((A,), on_A)

    def correlations(D):  # of the two entries
        left = embeddings - torch.stack(list(solved(D))) @ D
        return (left @ D.T)[small | close]

    # an entry that is given more than it is held at asks for as much more of its correlation
    ample = held.masked_fill(small, 0.03)
    raised = torch.where(small, ample, torch.stack(list(solved(atoms))))
    A = supports[0]
    raised[0, A] = torch.linalg.solve(
        atoms[A] @ atoms[A].T,
        atoms[A] @ (embeddings[0] - raised[0].index_fill(0, A, 0.0) @ atoms) - lmbda,
    )
    reached = ((embeddings - raised @ atoms) @ atoms.T)[small | close]
    goal = torch.tensor([lmbda, margin * lmbda], dtype=torch.float64)
    conditions = Conditions(embeddings, torch.stack(list(solved(atoms))), lmbda, margin)
    jacobian = torch.autograd.functional.jacobian(correlations, atoms).reshape(2, -1)
    least = torch.linalg.pinv(jacobian) @ (goal - reached)
    step = following_step(conditions, atoms, small, close, ample, max_norm=9.0)
    torch.testing.assert_close(step.flatten(), least, atol=1e-6 * least.norm().item(), rtol=0)


@pytest.mark.parametrize("entries", [0, 1])
def test_codes_of_one_entry_or_none_are_anchored_too(entries):
    """What is left of a support without the entry that is put right may be nothing."""
    for seed in range(8):
        dictionary, embeddings = Dictionary(24, 12, seed=seed), texts(4, 12, seed, similarity=1.0)
        for number, embedding in enumerate(embeddings):
            code = sparse_encode(embedding[None], dictionary.atoms, lmbda=0.3).code[0]
            few = torch.zeros_like(code)
            few[code.argsort(descending=True)[:entries]] = 0.05 + 0.01 * number
            Anchored()(dictionary, embedding, few, lmbda=0.3)
        recalled = sparse_encode(embeddings, dictionary.atoms, lmbda=0.3).code
        assert torch.equal(recalled > 0, dictionary.codes > 0)
        assert ((recalled > 0).sum(dim=1) == entries).all()


@pytest.mark.parametrize("codes", ["trained", "fitted", "auto"])
def test_masks_as_large_as_an_embedding_are_told(codes):
    dictionary, embedding = Dictionary(40, 8), texts(1, 8, seed=1)[0]
    wanted = torch.zeros(40).double()
    wanted[:9] = 0.05
    with pytest.warns(ConvergenceWarning, match="1 of 1 remembered codes have as many entries"):
        Anchored(codes=codes)(dictionary, embedding, wanted, lmbda=0.01)


def test_a_phrasing_that_embeds_like_the_task_s_text_does_not_replace_its_code():
    dictionary, embedding = Dictionary(96, 48), texts(1, 48, seed=1)[0]
    code = sparse_encode(embedding[None], dictionary.atoms, lmbda=0.05).code[0]
    code = trained(code, 3)
    same = torch.stack([embedding, texts(1, 48, seed=2)[0], embedding])
    Anchored(codes="trained")(dictionary, same, code, lmbda=0.05)
    assert len(dictionary.codes) == 2
    assert torch.equal(dictionary.codes[0], code)
