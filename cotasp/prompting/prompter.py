"""From a task's text to the prompt of every hidden layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cotasp.checks import check
from cotasp.dictionaries import Dictionary, sparse_encode
from cotasp.dictionaries.updates import UpdateRule
from cotasp.errors import RecipeError, component_errors, refuse_returned
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
            RecipeError: the code is of another shape.
            PluginError: the update rule raised an error, or left a dictionary that is none.

        Returns:
            what the update did, by name and layer; see `cotasp.dictionaries.diagnostics`.
        """
        from cotasp.dictionaries.diagnostics import diagnostics

        if not isinstance(code, Tensor) or code.shape != (sum(self.hidden),):
            got = list(code.shape) if isinstance(code, Tensor) else type(code).__name__
            raise RecipeError(
                f"Prompter.end_task.code: expected a tensor of shape {[sum(self.hidden)]}, "
                f"got {got}; give all layers' codes side by side"
            )
        report: dict[str, float] = {}
        layers = zip(self.dictionaries, code.double().split(self.hidden))
        for number, (dictionary, layer_code) in enumerate(layers, start=1):
            before = {name: value.clone() for name, value in dictionary.state_dict().items()}
            with component_errors("update rule", self.coding.update):
                self.coding.update(
                    dictionary, embedding.double(), layer_code, lmbda=self.coding.lmbda
                )
                _check_updated(self.coding.update, dictionary, before, embedding.double())
            values = diagnostics(
                dictionary,
                previous=before["atoms"],
                lmbda=self.coding.lmbda,
                solver=self.coding.solver,
            )
            report |= {f"layer{number}/{name}": value for name, value in values.items()}
        return report


def _check_updated(
    update: UpdateRule, dictionary: Dictionary, before: Mapping[str, Tensor], embedding: Tensor
) -> None:
    """Raises PluginError for a rule that forgot the pair, or left what no dictionary holds.

    Args:
        update: the rule.
        dictionary: as it left it.
        before: its state before.
        embedding: [m] or [p, m], as the rule got it.
    """
    after = dictionary.state_dict()
    wrong = None
    for name, old in before.items():
        new, size = after.get(name), slice(1 if name in ("embeddings", "codes") else 0, None)
        if new is None or (new.dtype, new.shape[size]) != (old.dtype, old.shape[size]):
            got = "none" if new is None else f"{list(new.shape)} of {new.dtype}"
            wrong = f"{name} of another kind, {got}; write with dictionary.{name}.copy_"
        elif new.device != old.device:
            wrong = f"{name} on {new.device}; write with dictionary.{name}.copy_"
        elif not new.isfinite().all():
            wrong = f"{name} that are NaN or infinite"
        if wrong is not None:
            break
    else:
        wrong = _unrecorded(dictionary, before, embedding)
    refuse_returned(
        "update rule", update, "__call__", "a dictionary that has recorded the pair", wrong
    )


def _unrecorded(
    dictionary: Dictionary, before: Mapping[str, Tensor], embedding: Tensor
) -> str | None:
    """What is wrong with a dictionary of the right shapes; None: nothing."""
    text = embedding.reshape(-1, dictionary.n_features)[0].to(dictionary.embeddings)
    kept = len(dictionary.embeddings) == len(dictionary.codes)
    kept = kept and bool((dictionary.embeddings == text).all(dim=1).any())
    if not kept or torch.equal(dictionary.n_recorded, before["n_recorded"]):
        return "one that has not; call dictionary.record(embedding, code)"
    longest = float(dictionary.atoms.norm(dim=1).max())
    if longest > dictionary.max_norm * (1 + 1e-6):
        return (
            f"an atom of norm {longest:.3g} where max_norm is {dictionary.max_norm:g}; write "
            f"dictionary.project(atoms)"
        )
    return None
