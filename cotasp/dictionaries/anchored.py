r"""The least change of a dictionary that makes remembered codes the lasso of their texts.

Given embeddings :math:`e_i`, codes :math:`s_i` and atoms :math:`D_0`, find

.. math:: \min_D \tfrac12 ||D - D_0||_F^2 \quad\text{s.t.}\quad
   d_k \cdot r_i = \lambda\,\mathrm{sign}(s_{ik}) \ (s_{ik} \ne 0), \quad
   |d_k \cdot r_i| \le \mu\lambda \ (s_{ik} = 0), \quad r_i = e_i - s_i D, \quad ||d_k|| \le c

by Gauss–Newton with minimum-norm steps.  The mathematics, the cost and the limits are on the
page `docs/anchored.md`.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from cotasp.dictionaries._least_change import (
    Conditions,
    Point,
    following_step,
    least_step,
    lost,
    per_atom_inverse,
)
from cotasp.dictionaries._nearby import NearbyCodes
from cotasp.dictionaries.diagnostics import kkt_residual
from cotasp.dictionaries.dictionary import on_ball
from cotasp.errors import ConvergenceWarning

if TYPE_CHECKING:
    from cotasp.dictionaries.dictionary import Dictionary

_PATIENCE = 5  # steps within which ||V||² must at least halve
_STEP_TOL = 1e-2  # relative residual of a step's linear system; Newton corrects the rest
_ROUGH = 0.1  # the same where codes take up what is left
_NEAR = 0.03  # violation in units of lambda below which they may
_GIVE = 0.1  # by which codes may change for it, in units of their text's largest
_FOLLOWING = 8  # rounds of that
_LEAST = 0.05  # share of a positive code that is left at least, so that its neuron stays on,
_SMALLEST = 1e-4  # and of what it is at least, if it was
_AMPLE = 2.0  # times that much is given to a code that would have less
_ROOM = 0.1  # share of what the margin leaves to correlations off supports that stays free


class AnchorResult(NamedTuple):
    """What `anchor` returns.

    Args:
        atoms: [K, m], the new atoms.  If not converged: of those visited, D_0 among them, the
            ones under which the fewest codes are lost.
        codes: [n, K], those given, or with `give` > 0 the lasso solutions nearby.
        violation: [n], largest violation of each code's optimality, in units of lambda.
        n_iter: Gauss–Newton steps taken.
        converged: no violation above the tolerance.
    """

    atoms: Tensor
    codes: Tensor
    violation: Tensor
    n_iter: int
    converged: bool


def anchor(
    atoms: Tensor,
    embeddings: Tensor,
    codes: Tensor,
    *,
    lmbda: float,
    max_norm: float = 1.0,
    tol: float = 1e-6,
    margin: float = 0.95,
    max_iter: int = 50,
    max_change: float = math.inf,
    give: float = 0.0,
) -> AnchorResult:
    r"""Least change of the atoms after which each code is its embedding's lasso solution.

    Gauss–Newton on the optimality conditions V(D) = 0: each step is the smallest change of D
    that satisfies them to first order, found by conjugate gradients, halved while it does not
    reduce ||V||.  Conditions off the support enter when they are violated and stay.

    Args:
        atoms: [K, m] float64, D_0, with norms at most `max_norm`; not modified.
        embeddings: [n, m], E.
        codes: [n, K], S; a support must have fewer than m elements.
        lmbda: l1 weight, > 0.
        max_norm: c, largest norm of an atom.
        tol: violation to reach, in units of lambda.
        margin: in (0, 1], bound on correlations off the support in units of lambda.
        max_iter: Gauss–Newton steps, at most.
        max_change: stop, not converged, where ||D - D_0|| exceeds this share of ||D_0||.
        give: stop, converged, as soon as codes that are a lasso solution with the same masks
            differ from those given by at most this share of a text's largest code; they are what
            is returned, and leave a tenth of the room that the margin gives.  0: codes stay.
    """

    conditions = Conditions(embeddings, codes, lmbda, margin)
    point = best = conditions.at(atoms)
    held = point.tight
    merits: list[float] = []
    inward = torch.zeros(len(atoms), 1, dtype=torch.bool, device=atoms.device)
    while float(point.violation.max()) > tol and len(merits) < max_iter:
        if give > 0 and float(point.violation.max()) < _NEAR:
            taken = _taken_up(conditions, point.atoms, max_norm, tol, give)
            if taken is not None:
                return AnchorResult(taken[0].atoms, taken[1], taken[0].violation, len(merits), True)
        merits.append(point.merit)
        if len(merits) > _PATIENCE and merits[-1] > 0.5 * merits[-1 - _PATIENCE]:
            break
        held = held | point.tight
        step, inward = least_step(
            point,
            held,
            inward,
            codes,
            lmbda,
            max_norm,
            per_atom_inverse(point, held, codes),
            tol=_ROUGH if give > 0 else _STEP_TOL,
            passes=2 if len(merits) == 1 else 1,  # most of the change is the first step's
        )
        for length in (1.0, 0.5, 0.25, 0.125):
            new = conditions.at(on_ball(point.atoms + length * step, max_norm))
            if new.merit < merits[-1]:
                break
        if (new.atoms - atoms).norm() > max_change * atoms.norm():
            break
        point = new
        best = min(best, point, key=lambda p: lost(p.violation))
    converged = float(point.violation.max()) <= tol
    best = point if converged else best
    return AnchorResult(best.atoms, codes, best.violation, len(merits), converged)


def _taken_up(
    conditions: Conditions, atoms: Tensor, max_norm: float, tol: float, give: float
) -> tuple[Point, Tensor] | None:
    """Atoms nearby, and codes with the same masks that are the lasso there, within `give`.

    Codes follow the atoms, which move only for what following would cost a mask: a positive code
    that would become too small, a correlation off the mask that would come too close to lambda.
    """
    embeddings, given, lmbda, margin = conditions
    on = given > 0
    least = torch.minimum(given, (_LEAST * given).clamp(min=_SMALLEST)).where(on, 0.0)
    ample = _AMPLE * least
    nearby = NearbyCodes(embeddings, given, lmbda=lmbda, least=least)
    for _ in range(_FOLLOWING):
        codes = nearby.at(atoms)
        if ((codes - given).abs().amax(dim=1) > give * given.abs().amax(dim=1)).any():
            return None
        conditions = conditions._replace(codes=codes)
        point = conditions.at(atoms)
        small = on & (codes <= least) & (point.wanted > lmbda * tol)
        close = (codes == 0) & (point.wanted < -lmbda * (1 - margin) * (1 - _ROOM))
        if not (small | close).any():
            return (point, codes) if float(point.violation.max()) <= tol else None
        step = following_step(conditions, atoms, small, close, ample, max_norm)
        atoms = on_ball(atoms + step, max_norm)
    return None


def fit_codes(
    atoms: Tensor,
    embeddings: Tensor,
    codes: Tensor,
    *,
    lmbda: float,
    floor: float = 1e-3,
) -> Tensor:
    r"""The lasso of each text under the condition that it has the mask of its code.

    .. math:: \min_s \tfrac12 ||e - sD||^2 + \lambda ||s||_1 \ \text{s.t.}\
       s_k \ge \epsilon \ (\text{code}_k > 0), \quad s_k \le 0 \ (\text{code}_k \le 0)

    With :math:`s_k = \epsilon + u_k` and :math:`s_k = -u_k` it is a lasso in :math:`u \ge 0`,
    with the atoms of the second kind turned round.  A support of m or more elements would leave
    the lasso without a unique solution; of negative entries only the largest are kept, as many
    as make 95 % of m.

    Args:
        atoms: [K, m].
        embeddings: [n, m].
        codes: [n, K]; only their signs are read.
        lmbda: l1 weight, > 0.
        floor: epsilon > 0, smallest code of an active neuron.

    Returns:
        [n, K].
    """
    from cotasp.dictionaries.encode import sparse_encode

    fitted = torch.empty_like(codes)
    for row, (embedding, code) in enumerate(zip(embeddings, codes)):
        on = code > 0
        turned = torch.where(on[:, None], atoms, -atoms)
        rest = embedding - floor * atoms[on].sum(dim=0)
        u = sparse_encode(rest[None], turned, lmbda=lmbda, positive=True).code[0]
        negative = u.masked_fill(on, 0.0)
        room = max(int(0.95 * len(embedding)) - int(on.sum()), 0)
        if int((negative > 0).sum()) > room:
            negative[negative.argsort(descending=True)[room:]] = 0.0
        fitted[row] = torch.where(on, floor + u, -negative)
    return fitted


def phrasing_codes(
    dictionary: Dictionary, embeddings: Tensor, code: Tensor, *, lmbda: float, floor: float
) -> Tensor:
    """The codes [p, K] to be remembered for the phrasings of one task.

    The task's own text, the first, keeps the code [K] that it trained with.  Every other phrasing
    gets a lasso of its own with that code's mask, see `fit_codes`.

    Args:
        dictionary: before its update.
        embeddings: [p, m].
        code: [K].
        lmbda, floor: see `fit_codes`.

    Raises:
        RecipeError: see `Dictionary.check`.
    """
    embeddings, code = dictionary.check(embeddings, code)
    others = code.expand(len(embeddings) - 1, -1)
    fitted = fit_codes(dictionary.atoms, embeddings[1:], others, lmbda=lmbda, floor=floor)
    return torch.cat([code[None], fitted])


def anchor_dictionary(
    dictionary: Dictionary,
    taught: Tensor,
    *,
    lmbda: float,
    remember: Literal["auto", "trained", "fitted"],
    reach: float,
    floor: float,
    tol: float,
    margin: float,
    max_iter: int,
) -> None:
    """Anchors all remembered pairs, in place; the work of the update rule `Anchored`.

    Where not all can be had, texts are set aside until the others can: first those of earlier
    tasks whose codes are no lasso, for which that was found before; then of the task that ends
    the one that is likest to a text with another mask, two more, four more and so on.  So a text
    that contradicts another costs itself alone.

    Args:
        dictionary: its `atoms`, and under "auto" or "fitted" its `codes`, change.
        taught: [p, m], the texts of the task that ends.
        lmbda: l1 weight, > 0.
        remember: the rule's `codes`.
        reach, floor, tol, margin, max_iter: as of the rule.

    Warns:
        ConvergenceWarning: some remembered code is not its text's lasso.
    """
    texts, codes = dictionary.embeddings, dictionary.codes
    violation = kkt_residual(dictionary, codes, lmbda=lmbda) / lmbda
    off = violation > tol

    def attempt(kept: Tensor, max_change: float = math.inf) -> AnchorResult:
        """The least change for the texts kept [n]; of all what codes and violations then are."""
        found = anchor(
            dictionary.atoms,
            texts[kept],
            codes[kept],
            lmbda=lmbda,
            max_norm=dictionary.max_norm,
            tol=tol,
            margin=margin,
            max_iter=max_iter,
            max_change=max_change,
            give=0.0 if remember == "trained" else _GIVE,
        )
        all_codes = codes.index_put((kept,), found.codes)
        missed = Conditions(texts, all_codes, lmbda, margin).at(found.atoms).violation
        return found._replace(codes=all_codes, violation=missed)

    kept = torch.ones_like(off)
    for fitted in {"trained": [False], "fitted": [True], "auto": [False, True]}[remember]:
        if fitted:
            refit = fit_codes(dictionary.atoms, texts[off], codes[off], lmbda=lmbda, floor=floor)
            codes = codes.index_put((off,), refit)
        result = attempt(kept, reach if remember == "auto" and not fitted else math.inf)
        if result.converged:
            break
    if not result.converged:
        new = off & (texts[:, None] == taught).all(dim=2).any(dim=1)
        before, likeness = off & ~new, _likeness(texts, codes > 0)
        last, more = result, 0 if before.any() else 1
        while not last.converged and (off & kept).any():
            kept = kept & ~before
            for _ in range(min(more, int((new & kept).sum()))):
                nearest = likeness[:, kept].amax(dim=1).masked_fill(~(new & kept), -torch.inf)
                kept = kept.index_fill(0, nearest.argmax(), False)
            last = attempt(kept)
            result = min(result, last, key=lambda each: lost(each.violation))
            more = 2 * more or 1
    dictionary.codes.copy_(result.codes)
    dictionary.atoms.copy_(result.atoms)
    other = _other_masks(dictionary, lmbda)
    if other:
        warnings.warn(
            f"Anchored: {other} of {len(codes)} remembered codes have as many entries as "
            f"embeddings have, {dictionary.n_features}, or more: the lasso of such a text is not "
            f"unique, and gives another mask; a larger lmbda leaves fewer",
            ConvergenceWarning,
            stacklevel=4,
        )
    missed = int((result.violation > tol).sum())
    if missed:
        warnings.warn(
            f"Anchored: {missed} of {len(codes)} remembered codes are "
            f"not their text's lasso, by up to {float(result.violation.max()):.1e} lambda "
            f"(tol {tol:.0e}): texts that are nearly alike cannot lead to different masks; else a "
            f"larger lmbda or a wider layer leaves more room",
            ConvergenceWarning,
            stacklevel=4,
        )


def _likeness(texts: Tensor, masks: Tensor) -> Tensor:
    """Cosines [n, n] of texts [n, m] whose masks [n, K] differ; elsewhere -2."""
    unit = texts / texts.norm(dim=1, keepdim=True).clamp(min=1e-30)
    on = masks.to(texts)
    differ = on @ (1 - on).T + (1 - on) @ on.T > 0.5
    return (unit @ unit.T).masked_fill(~differ, -2.0)


def _other_masks(dictionary: Dictionary, lmbda: float) -> int:
    """How many codes are not what their text gives, of those too large for a unique lasso."""
    from cotasp.dictionaries.encode import sparse_encode

    full = (dictionary.codes != 0).sum(dim=1) >= dictionary.n_features
    if not full.any():
        return 0
    lasso = sparse_encode(dictionary.embeddings[full], dictionary.atoms, lmbda=lmbda).code
    return int(((lasso > 0) != (dictionary.codes[full] > 0)).any(dim=1).sum())
