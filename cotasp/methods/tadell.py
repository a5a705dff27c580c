"""A dictionary of policies: a task's text chooses the weights that its network begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cotasp.checks import check_fields
from cotasp.modules.masks import Dense
from cotasp.ranges import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from cotasp.dictionaries import Dictionary
    from cotasp.modules.mask_capabilities import Past


@dataclass(frozen=True)
class TaDeLL:
    r"""A network per task, that begins as its text's combination of policies so far (TaDeLL).

    The weights theta_t and the text's embedding e_t of a finished task are one row x_t of a
    dictionary L with few atoms; when the task ends,

    .. math:: s_t = \arg\min_s \tfrac12 ||x_t - s L||^2 + \lambda ||s||_1

    and L takes the step of online dictionary learning (`cotasp.dictionaries.Online`).  A new task
    has its text alone, and begins with the other part of what that part says:

    .. math:: s = \arg\min_s \tfrac12 ||e - s L_e||^2 + \lambda ||s||_1, \quad \theta = s L_\theta

    (Isele, Rostami, Eaton, IJCAI 2016; Rostami, Isele, Eaton, JAIR 2020, arXiv 1710.03850, in the
    form that CoTASP, arXiv 2305.18444, compares with: rows count alike, without the Hessian of the
    loss.)  The first task, and one whose text has the code 0, begins as drawn.  What is stored
    grows by a whole network per task; the dictionary follows from these and is not stored.

    Args:
        atoms: in the dictionary, at least 1.
        lmbda: l1 weight of both lassos, above 0.
        max_norm: largest norm of an atom, above 0.
    """

    gradient: ClassVar[str] = "none"
    local: ClassVar[bool] = True
    anew: ClassVar[bool] = True
    atoms: Count = 20
    lmbda: Positive = 1e-3
    max_norm: Positive = 1.0

    def __post_init__(self):
        check_fields(self)

    def __call__(self, code: Tensor, progress: float = 1.0) -> Tensor:
        return Dense()(code, progress)

    def first_weights(self, past: Past) -> dict[str, Tensor]:

        if not past.weights:
            return {}
        dictionary = self._learned(past)
        sizes = {name: weight.numel() for name, weight in past.weights[0].items()}
        of_text = dictionary.atoms[:, sum(sizes.values()) :]
        code = self._lasso(past.embedding.to(of_text), of_text)
        if not code.any():
            return {}
        parts = (code @ dictionary.atoms[:, : sum(sizes.values())]).split(list(sizes.values()))
        return {
            name: part.reshape(weight.shape).to(weight)
            for part, (name, weight) in zip(parts, past.weights[0].items())
        }

    def _learned(self, past: Past) -> Dictionary:
        """The dictionary after the finished tasks, in their order."""
        import torch

        from cotasp.dictionaries import Dictionary, Online

        dictionary: Dictionary | None = None
        for weights, embedding in zip(past.weights, past.embeddings):
            row = torch.cat([*(w.flatten() for w in weights.values()), embedding]).double()
            if dictionary is None:
                size, norm = len(row), self.max_norm
                dictionary = Dictionary(self.atoms, size, max_norm=norm, seed=past.seed)
                dictionary.to(row.device)
            code = self._lasso(row, dictionary.atoms)
            Online()(dictionary, row, code, lmbda=self.lmbda)
        assert dictionary is not None  # there are finished tasks
        return dictionary

    def _lasso(self, row: Tensor, atoms: Tensor) -> Tensor:
        from cotasp.dictionaries import sparse_encode

        return sparse_encode(row[None], atoms, lmbda=self.lmbda).code[0]
