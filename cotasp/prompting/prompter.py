"""From a task's text to the prompt of every hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cotasp.checks import check
from cotasp.dictionaries import Dictionary, sparse_encode
from cotasp.dictionaries.updates import UpdateRule
from cotasp.errors import component_errors, refuse_returned
from cotasp.prompting.sparse_coding import SparseCoding


class Prompter(nn.Module):
    """One dictionary per hidden layer, and the lasso that reads prompts from them.

    s_l = argmin_s 1/2 ||e - s D_l||^2 + lmbda ||s||_1 (CoTASP, arXiv 2305.18444, Eq. 3).

    Args:
        coding: solver, update rule and l1 weight.
        hidden: widths K_l, the numbers of atoms.
        n_features: m, length of an embedding.
        seed: of the initial atoms; layers draw different ones.
        data: [n, m] embeddings for `init="svd"` and `init="texts"`.

    Raises:
        RecipeError: a width or a length is not one, or what `Dictionary` raises.
    """

    dictionaries: Sequence[Dictionary]

    def __init__(
        self,
        coding: SparseCoding,
        hidden: Sequence[int],
        n_features: int,
        seed: int = 0,
        data: Tensor | None = None,
    ) -> None:
        super().__init__()
        check(tuple[int, ...], hidden, "Prompter.hidden")
        self.coding = coding
        self.hidden = tuple(hidden)
        dictionaries = [
            Dictionary(
                width,
                n_features,
                init=coding.init,
                max_norm=coding.max_norm,
                seed=seed * len(hidden) + layer,
                data=None if coding.init == "random" else data,
            )
            for layer, width in enumerate(hidden)
        ]
        # its items lose their type
        self.dictionaries = nn.ModuleList(dictionaries)  # type: ignore[assignment]

    @torch.no_grad()
    def forward(self, embedding: Tensor, lmbda: float | None = None) -> Tensor:
        """Codes of embeddings.

        Args:
            embedding: [*, m].
            lmbda: l1 weight, > 0; None: of `coding`.

        Returns:
            [*, sum(hidden)] float32, the layers' codes side by side.
        """
        rows = embedding.reshape(-1, embedding.shape[-1]).double()
        weight = self.coding.lmbda if lmbda is None else lmbda
        codes = [
            sparse_encode(rows, dictionary.atoms, lmbda=weight, solver=self.coding.solver).code
            for dictionary in self.dictionaries
        ]
        return torch.cat(codes, -1).reshape(*embedding.shape[:-1], -1).float()

    @torch.no_grad()
    def end_task(self, embedding: Tensor, code: Tensor) -> dict[str, float]:
        """Teaches the dictionaries the prompt that a task ended training with.

        Args:
            embedding: [m] of the task's text; or [p, m], that text's first and then those of
                other phrasings that are to lead to the same masks.
            code: [sum(hidden)].

        Raises:
            PluginError: the update rule raised an error.

        Returns:
            what the update did, by name and layer; see `cotasp.dictionaries.diagnostics`.
        """
        from cotasp.dictionaries.diagnostics import diagnostics

        report: dict[str, float] = {}
        layers = zip(self.dictionaries, code.double().split(self.hidden))
        for number, (dictionary, layer_code) in enumerate(layers, start=1):
            before, recorded = dictionary.atoms.clone(), int(dictionary.n_recorded)
            with component_errors("update rule", self.coding.update):
                self.coding.update(
                    dictionary, embedding.double(), layer_code, lmbda=self.coding.lmbda
                )
            _check_updated(self.coding.update, dictionary, recorded)
            values = diagnostics(
                dictionary, previous=before, lmbda=self.coding.lmbda, solver=self.coding.solver
            )
            report |= {f"layer{number}/{name}": value for name, value in values.items()}
        return report


def _check_updated(update: UpdateRule, dictionary: Dictionary, recorded: int) -> None:
    """Raises PluginError for a rule that forgot the pair, or left atoms that are no numbers."""
    wrong = None
    if int(dictionary.n_recorded) == recorded:
        wrong = "one that has not; call dictionary.record(embedding, code)"
    elif not dictionary.atoms.isfinite().all():
        wrong = "atoms that are NaN or infinite"
    refuse_returned(
        "update rule", update, "__call__", "a dictionary that has recorded the pair", wrong
    )
