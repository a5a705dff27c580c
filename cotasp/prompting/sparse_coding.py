"""The recipe node of the dictionaries: how an embedding becomes codes, and what a task leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cotasp.checks import check_fields
from cotasp.dictionaries.solvers import Lars, Solver
from cotasp.dictionaries.updates import Anchored, UpdateRule
from cotasp.ranges import Positive


@dataclass(frozen=True)
class SparseCoding:
    """Sparse prompting: one dictionary and one lasso per hidden layer (CoTASP, Eq. 3).

    Args:
        solver: of the lasso.
        update: what a task's end does to the atoms.
        lmbda: l1 weight, above 0; the larger, the fewer neurons a task gets.
        init: first atoms: `"random"` normal rows, `"svd"` of the stream's embeddings, or
            `"texts"`: random, leaning towards the span of the stream's embeddings.
        max_norm: largest norm of an atom, the paper's c.
    """

    solver: Solver = Lars()
    update: UpdateRule = Anchored()
    lmbda: Positive = 3e-2
    init: Literal["random", "svd", "texts"] = "random"
    max_norm: Positive = 1.0

    def __post_init__(self):
        check_fields(self)
