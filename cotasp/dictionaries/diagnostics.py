"""What a dictionary remembers, in figures: recall, alignment, coherence and the like."""

from __future__ import annotations

import torch
from torch import Tensor

from cotasp.dictionaries.dictionary import Dictionary
from cotasp.dictionaries.solvers import Solver

UNUSED = 1e-6  # A_kk at or below this counts as unused, as in the online rule


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    r"""Overlap :math:`|a \cap b| / |a \cup b|` of boolean masks [*, K]; 1 for two empty ones."""
    union = (a | b).sum(dim=-1).double()
    return torch.where(union > 0, (a & b).sum(dim=-1) / union.clamp(min=1.0), 1.0)


def kkt_residual(dictionary: Dictionary, codes: Tensor, *, lmbda: float) -> Tensor:
    r"""Largest violation [n] of the lasso's optimality by codes [n, K] of remembered texts.

    :math:`\max_k |g_k - \lambda\,\mathrm{sign}(s_k)|` on the support, :math:`|g_k| - \lambda` off
    it, with :math:`g = (e - sD)D^\top`.
    """
    G = (dictionary.embeddings - codes @ dictionary.atoms) @ dictionary.atoms.T
    violation = torch.where(codes != 0, (G - lmbda * codes.sign()).abs(), G.abs() - lmbda)
    return violation.clamp(min=0).amax(dim=1)


def ranks(values: Tensor) -> Tensor:
    """Ranks [n] from 0, ties averaged."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() + 1) / 2)[inverse]


def alignment(embeddings: Tensor, masks: Tensor, *, ranked: bool = True) -> float:
    """Correlation, over pairs of tasks, of text cosine and mask overlap (Jaccard).

    NaN with fewer than three tasks or where either is the same for all pairs.

    Args:
        embeddings: [n, m].
        masks: [n, K] boolean.
        ranked: Spearman's rank correlation; else Pearson's.
    """
    i, j = torch.triu_indices(len(masks), len(masks), offset=1)
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1)
    # Rounding must not order, or spread, equal cosines.
    cosines = ((unit[i] * unit[j]).sum(dim=1) * 1e12).round() / 1e12
    x, y = cosines, jaccard(masks[i], masks[j])
    if ranked:
        x, y = ranks(x), ranks(y)
    x, y = x - x.mean(), y - y.mean()
    scale = (x.norm() * y.norm()).item()
    return (x @ y).item() / scale if len(masks) > 2 and scale > 0 else float("nan")


def change(atoms: Tensor, previous: Tensor) -> float:
    r"""Relative change of the atoms, :math:`||D - D'||_F / ||D'||_F`."""
    return ((atoms - previous).norm() / previous.norm()).item()


def coherence(atoms: Tensor) -> float:
    """Largest absolute cosine of two different atoms, in [0, 1]; zero atoms count as 0."""
    unit = torch.nn.functional.normalize(atoms, dim=1)
    return (unit @ unit.T).abs().fill_diagonal_(0).max().item()


def diagnostics(
    dictionary: Dictionary,
    *,
    lmbda: float,
    solver: str | Solver = "lars",
    previous: Tensor | None = None,
) -> dict[str, float]:
    """The report of one dictionary at the end of a task.

    Masks are the positive part of codes, s > 0, as in CoTASP, Eq. 2.

    Args:
        dictionary: after its update; with at least one remembered pair.
        lmbda: l1 weight, > 0.
        solver: of the lasso; a registered name or a `Solver`.
        previous: [K, m], atoms before the update; without them `change` is NaN.

    Returns:
        kkt: largest optimality violation of a remembered code, in units of lambda.
        recall: mean Jaccard of a text's mask now and its remembered one; recall_min the least.
        alignment: see `alignment`, for the remembered masks.
        change, coherence: see the functions.
        unused: fraction of atoms that no task has used.
    """
    from cotasp.dictionaries.encode import sparse_encode

    fresh = sparse_encode(dictionary.embeddings, dictionary.atoms, lmbda=lmbda, solver=solver).code
    masks = dictionary.codes > 0
    recalls = jaccard(fresh > 0, masks)
    kkt = kkt_residual(dictionary, dictionary.codes, lmbda=lmbda)
    return {
        "kkt": kkt.max().item() / lmbda,
        "recall": recalls.mean().item(),
        "recall_min": recalls.min().item(),
        "alignment": alignment(dictionary.embeddings, masks),
        "change": float("nan") if previous is None else change(dictionary.atoms, previous),
        "coherence": coherence(dictionary.atoms),
        "unused": (dictionary.A.diagonal() <= UNUSED).double().mean().item(),
    }
