"""Update rules: what happens to a dictionary when a task ends.

A rule gets the dictionary, the task's embedding e and the code s* that the task ended training
with, records the pair (`Dictionary.record`) and changes the atoms in place.  The rules:

* `Online`: one block-coordinate pass of online dictionary learning, as in the CoTASP paper.
* `Anchored`: the least change after which every remembered code is its own text's lasso.
* `Frozen`: the atoms never change.
* `Lazy`: another rule, only every n-th task.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from cotasp.checks import check_fields, fits
from cotasp.errors import RecipeError
from cotasp.ranges import Count, Positive, PositiveShare, Range

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.dictionaries.dictionary import Dictionary


class UpdateRule(Protocol):
    """What happens to a dictionary when a task ends."""

    def __call__(
        self, dictionary: Dictionary, embedding: Tensor, code: Tensor, *, lmbda: float
    ) -> None:
        """Records the pair and changes the atoms, in place.

        Args:
            dictionary: K atoms of m features.
            embedding: [m], e; or [p, m], the task's own text and then its other phrasings, all
                of which are to lead to the task's one mask.
            code: [K], s*.
            lmbda: l1 weight of the lasso that chooses codes, > 0.

        Raises:
            RecipeError: shapes that do not fit, numbers that are not finite, `lmbda` <= 0.
        """
        ...


def _check_lmbda(lmbda: float) -> None:
    if not fits(float, lmbda) or lmbda <= 0:
        raise RecipeError(f"lmbda: expected a positive number, got {lmbda!r}")


@dataclass(frozen=True)
class Online:
    r"""Online dictionary learning, one pass per task (the paper's rule).

    With the statistics of `Dictionary.record`, in order of k, for every atom with
    :math:`A_{kk} > 10^{-6}`, each using the atoms already moved:

    .. math:: D_k \leftarrow D_k + (B_k - A_k D) / A_{kk}, \quad
              D_k \leftarrow D_k / \max(1, ||D_k|| / c)

    CoTASP, arXiv 2305.18444; Mairal et al., ICML 2009, Algorithm 2.

    Attributes:
        unused: the atoms that no task used, those with :math:`A_{kk} \le 10^{-6}`:
            `"resample"` replaces each by e + N(0, std(e)), projected, as the reference does;
            `"keep"` leaves them.
        forgetting: gamma in (0, 1], the weight of earlier tasks per task.
    """

    unused: Literal["resample", "keep"] = "resample"
    forgetting: PositiveShare = 1.0

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(
        self, dictionary: Dictionary, embedding: Tensor, code: Tensor, *, lmbda: float
    ) -> None:
        from cotasp.dictionaries._online import block_pass, resample_unused

        _check_lmbda(lmbda)
        dictionary.record(embedding, code, forgetting=self.forgetting)
        block_pass(dictionary)
        if self.unused == "resample":
            resample_unused(dictionary, embedding.reshape(-1, dictionary.n_features)[0])


@dataclass(frozen=True)
class Anchored:
    r"""Least change of the atoms after which every remembered code is its text's lasso.

    .. math:: \min_{D'} ||D' - D||_F^2 \ \text{s.t.}\ D' r_i = \lambda\,\mathrm{sign}(s_i)
              \text{ on the support of } s_i,\ |D' r_i| \le \mu\lambda \text{ off it},\
              r_i = e_i - s_i D',\ ||D'_k|| \le c

    What it costs and where it breaks: `docs/anchored.md`.  Where it cannot be had, a
    `ConvergenceWarning` says by how much.

    Attributes:
        codes: which code is remembered for the task that ends. `"trained"`: the one it trained
            with, to the last digit. `"fitted"`: the lasso of its text, held to the trained
            code's mask; it asks less of the atoms, and suffices where only s > 0 matters.
            `"auto"`: the trained one if it can be had within `reach`, else the fitted one.
            Under the last two, codes of all texts, not their masks, may follow the atoms at a
            task's end, by at most 10 % of a text's largest: further steps would move atoms for
            no more.
        tol: in (0, 1), largest violation of a remembered code's optimality, in units of lambda.
        margin: mu in (0, 1]; correlations off the support are kept within mu * lambda, so that
            small errors cannot switch a neuron on.
        reach: > 0, largest relative change of the atoms, in the Frobenius norm, that `"auto"`
            accepts for a trained code.
        floor: > 0, the smallest fitted code of an active neuron.
        max_iter: largest number of Gauss–Newton steps per task.
    """

    codes: Literal["auto", "trained", "fitted"] = "auto"
    tol: Annotated[float, Range(0, 1, above=True, below=True)] = 1e-6
    margin: PositiveShare = 0.95
    reach: Positive = 0.05
    floor: Positive = 1e-3
    max_iter: Count = 50

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(
        self, dictionary: Dictionary, embedding: Tensor, code: Tensor, *, lmbda: float
    ) -> None:
        from cotasp.dictionaries.anchored import anchor_dictionary, phrasing_codes

        _check_lmbda(lmbda)
        embedding, code = dictionary.check(embedding, code)
        if embedding.ndim == 2:  # of phrasings that are one text the first counts
            others = (embedding[:, None] == embedding).all(dim=2).tril(-1).any(dim=1)
            embedding = embedding[~others]
            code = phrasing_codes(dictionary, embedding, code, lmbda=lmbda, floor=self.floor)
        dictionary.record(embedding, code)
        anchor_dictionary(
            dictionary,
            embedding.reshape(-1, dictionary.n_features).to(dictionary.embeddings),
            lmbda=lmbda,
            remember=self.codes,
            reach=self.reach,
            floor=self.floor,
            tol=self.tol,
            margin=self.margin,
            max_iter=self.max_iter,
        )


@dataclass(frozen=True)
class Frozen:
    """The atoms never change; pairs are still recorded, for the reports."""

    def __call__(
        self, dictionary: Dictionary, embedding: Tensor, code: Tensor, *, lmbda: float
    ) -> None:
        _check_lmbda(lmbda)
        dictionary.record(embedding, code)


@dataclass(frozen=True)
class Lazy:
    """Another rule on every n-th task; the tasks between are only recorded.

    Nothing is lost: their statistics and pairs are in the dictionary when the rule next runs.

    Attributes:
        every: n, at least 1.
        rule: the rule to run; if it has a `forgetting`, skipped tasks are recorded with it.
    """

    every: Count = 2
    rule: UpdateRule = field(default_factory=Online)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(
        self, dictionary: Dictionary, embedding: Tensor, code: Tensor, *, lmbda: float
    ) -> None:
        _check_lmbda(lmbda)
        if (int(dictionary.n_recorded) + 1) % self.every == 0:
            self.rule(dictionary, embedding, code, lmbda=lmbda)
        else:
            forgetting = getattr(self.rule, "forgetting", 1.0)
            dictionary.record(embedding, code, forgetting=forgetting)
