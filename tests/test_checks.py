"""Constructors refuse arguments that do not fit their annotations, wherever they are called."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from cotasp.checks import check, fits
from cotasp.errors import RecipeError
from cotasp.modules import CodeTable, Critics, LayerMasks, MaskedMLP, MetaPolicy, Step, extract
from cotasp.modules.subnetwork import membership
from cotasp.prompting import Prompter, SparseCoding
from cotasp.registry import KINDS
from cotasp.schema import fields_of

WRONG = ("no such choice", 1.5, True, None, object(), [object()], float("nan"))
CLASSES = {  # streams read their fields as a recipe gives them
    f"{kind} {name}": registry.get(name)
    for kind, registry in KINDS.items()
    if kind != "stream"
    for name in registry.names()
    if registry.location(name).startswith("cotasp.")
}


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_every_field_is_checked_against_its_annotation(cls):
    for field, (annotation, _) in fields_of(cls).items():
        for value in WRONG:
            if not fits(annotation, value):
                with pytest.raises(RecipeError, match=f"{field}.*: expected .*, got "):
                    cls(**{field: value})


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, 3, 3.0),
        (int, 3, True),
        (float, 3, "3"),
        (float, 0.5, float("inf")),
        (bool, True, 1),
        (str | None, None, 3),
        (Literal["a", 1], 1, "b"),
        (Literal[1], 1, True),
        (tuple[int, ...], [3, 4], [3, 4.0]),
        (tuple[float, float], (0, 1), (0, 1, 2)),
        (tuple[tuple[str, ...], ...], (("a",), ()), ("a",)),
    ],
)
def test_what_fits_an_annotation(annotation, good, bad):
    check(annotation, good, "place")
    with pytest.raises(RecipeError, match=r"^place: expected "):
        check(annotation, bad, "place")


MASK = torch.ones(16)
POLICY = MetaPolicy(4, 2, [8, 8])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Step(gradient="x"), "Step.gradient: expected clipped or identity, got 'x'"),
        (lambda: MetaPolicy(4, 2, std="expo"), "MetaPolicy.std: expected exp or softplus.*'exp'?"),
        (lambda: MetaPolicy(4, 0), "MetaPolicy.action_dim: expected at least 1, got 0"),
        (lambda: MetaPolicy(4, 2, heads=0), "MetaPolicy.heads: expected at least 1, got 0"),
        (lambda: MetaPolicy(4, 2, head_scale=0.0), "MetaPolicy.head_scale: expected above 0"),
        (lambda: MetaPolicy(4, 2, log_std_range=(2, -5)), r"expected \[low, high\], got \[2, -5\]"),
        (lambda: MaskedMLP(4, [8], activation="swish2"), "MaskedMLP.activation: expected leaky_r"),
        (lambda: MaskedMLP(4, [8], norm="all"), "MaskedMLP.norm: expected first or none, got 'al"),
        (lambda: MaskedMLP(4, []), r"MaskedMLP.hidden: expected at least one width.*got \[\]"),
        (lambda: MaskedMLP(4, 8), r"MaskedMLP.hidden: expected a list.*got 8; write it as \[...\]"),
        (lambda: MaskedMLP(4.0, [8]), "MaskedMLP.in_features: expected an integer, got 4.0"),
        (lambda: MaskedMLP(4, [8, 8])(MASK[:4], MASK[:3]), r"each of the 16 .* got shape \[3\]"),
        (
            lambda: POLICY(MASK[:6].reshape(2, 3)),
            r"expected observations \[\*, 4\], got shape \[2, 3",
        ),
        (lambda: POLICY(MASK[:4], MASK[:15]), r"MaskedMLP: mask: expected .* got shape \[15\]"),
        (lambda: LayerMasks(Step(), 8), "LayerMasks.hidden: expected a list"),
        (lambda: LayerMasks(Step(), [8, 8])(MASK[:9]), r"LayerMasks: code: .* got shape \[9\]"),
        (lambda: CodeTable([0.5]), r"CodeTable.codes: expected a floating point tensor .*\[0.5\]"),
        (lambda: CodeTable(torch.ones(2, 16).bool()), r"got \[2, 16\] of torch.bool"),
        (lambda: Critics(4, 2, norm="last"), "Critics.norm: expected all or first or none"),
        (lambda: Critics(4, 2, hidden=8), "Critics.hidden: expected a list"),
        (lambda: extract(POLICY, MASK[:3]), r"mask: expected .* 16 hidden units, got shape \[3\]"),
        (lambda: extract(MaskedMLP(4, [8, 8]), MASK), "expected a MetaPolicy, got MaskedMLP"),
        (lambda: membership(POLICY, MASK.bool()[:3]), r"units: .* 16 hidden units, got shape \[3"),
        (lambda: SparseCoding(lmbda="x"), "SparseCoding.lmbda: expected a finite number, got 'x'"),
        (lambda: Prompter(SparseCoding(), 8, 5), "Prompter.hidden: expected a list"),
    ],
)
def test_who_builds_masked_layers_reads_what_is_wrong(call, said):
    with pytest.raises(RecipeError, match=said):
        call()
