"""Plain data to typed objects and back."""

from __future__ import annotations

import math
import re
import sys
import types
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotasp.checks import check_fields
from cotasp.dictionaries.updates import Anchored, Lazy, Online, UpdateRule
from cotasp.errors import RecipeError
from cotasp.ranges import Count, Positive, Range, Seed, ShareBelowOne
from cotasp.schema import build, expected, fields_of, plain, signature


@dataclass(frozen=True)
class Inner:
    size: int = 3
    label: str | None = None


@dataclass(frozen=True)
class Outer:
    count: int
    rate: float = 0.5
    flag: bool = False
    kind: Literal["one", "two"] = "one"
    level: Literal[1, 2] = 1
    widths: tuple[int, ...] = (4, 4)
    pair: tuple[float, float] = (0.0, 1.0)
    names: list[str] = field(default_factory=list)
    limit: float | None = None
    items: tuple[str | Inner, ...] = ()
    inner: Inner = Inner(size=7, label="seven")
    rule: UpdateRule = Lazy(every=5, rule=Online(unused="keep"))
    other: UpdateRule | None = None
    free: Any = None


def fails(annotation, node) -> str:
    with pytest.raises(RecipeError) as caught:
        build(annotation, node, "here")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- numbers, texts, choices --------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "node", "value"),
    [
        (float, "1e-3", 1e-3),  # YAML reads 1e-3 as text
        (float, " 2.5 ", 2.5),
        (float, 2, 2.0),
        (int, "12", 12),
        (int, "1e6", 1_000_000),
        (int, 3.0, 3),
        (int, 2**53 + 1, 2**53 + 1),
        (int, str(2**53 + 1), 2**53 + 1),
        (int, -(2**63) + 1, -(2**63) + 1),
        (bool, False, False),
        (str, "", ""),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], 2, 2),
        (float | None, None, None),
        (float | None, "1e-3", 1e-3),
        (Literal["auto"] | float, "auto", "auto"),
        (Literal["auto"] | float, "3", 3.0),
        (Any, {"a": [1]}, {"a": [1]}),
    ],
)
def test_what_fits(annotation, node, value):
    built = build(annotation, node, "here")
    assert built == value
    assert type(built) is type(value)


@pytest.mark.parametrize(
    ("annotation", "node", "message"),
    [
        (int, None, "expected an integer, got None"),
        (int, True, "expected an integer, got True"),
        (int, 3.5, "expected an integer, got 3.5"),
        (int, "3.5", "expected an integer, got '3.5'"),
        (int, "abc", "expected an integer, got 'abc'"),
        (int, "", "expected an integer, got ''"),
        (int, [1], "expected an integer, got [1]"),
        (int, math.inf, "expected an integer, got inf"),
        (int, 10**30, f"expected an integer, got {10**30}; it must fit in 64 bits"),
        (int, 2**63, f"expected an integer, got {2**63}; it must fit in 64 bits"),
        (float, math.nan, "expected a finite number, got nan"),
        (float, "nan", "expected a finite number, got 'nan'"),
        (float, "-inf", "expected a finite number, got '-inf'"),
        (float, "1e999", "expected a finite number, got '1e999'"),
        (float, False, "expected a finite number, got False"),
        (float, {}, "expected a finite number, got {}"),
        (bool, 1, "expected true or false, got 1"),
        (bool, "yes", "expected true or false, got 'yes'"),
        (str, 3, "expected text, got 3; write it in quotes"),
        (str, False, "expected text, got False; write it in quotes"),
        (str, None, "expected text, got None"),
        (str, "x" * 9, None),
        (Literal["clipped", "identity"], "clip", "expected clipped or identity, got 'clip'. "
         "Did you mean 'clipped'?"),
        (Literal["a", "b"], ["a"], "expected a or b, got ['a']"),
        (Literal[1, 2], True, "expected 1 or 2, got True"),
        (float | None, "x", "expected a finite number or null, got 'x'"),
        (float | str, None, "expected a finite number or text, got None"),
        (tuple[int, ...], 4, "expected a list, each an integer, got 4; write it as [...]"),
        (tuple[int, ...], "44", "expected a list, each an integer, got '44'; write it as [...]"),
        (tuple[float, float], [1], "expected a list of 2, got [1]"),
        (Inner, "x", "expected a mapping of size, label, got 'x'"),
        (Inner, None, "expected a mapping of size, label, got None"),
        (str | Inner, 3, "expected text or a mapping of size, label, got 3"),
        (dict[str, int], {}, f"a field annotated {dict[str, int]} cannot stand in a recipe"),
    ],
)  # fmt: skip
def test_what_does_not_fit(annotation, node, message):
    if message is None:
        assert build(annotation, node, "here") == node
    else:
        assert fails(annotation, node) == f"here: {message}"


def test_an_integer_too_long_to_print_is_refused_all_the_same():
    assert "thousands of digits; it must fit" in fails(int, 16**5000)
    assert "thousands of digits" in fails(str, 16**5000)


def test_a_long_value_is_shortened():
    assert len(fails(int, "x" * 1000)) < 120


# -- mappings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "here: missing key 'count' (an integer); it has no default"),
        ({"cuont": 1}, "here: unknown key 'cuont'. Did you mean 'count'?"),
        (
            {"count": 1, "inner": {"sise": 2}},
            "here.inner: unknown key 'sise'. Did you mean 'size'?",
        ),
        ({"count": 1, "widths": [1, "a"]}, "here.widths[1]: expected an integer, got 'a'"),
        (
            {"count": 1, "items": ["a", {"size": "b"}]},
            "here.items[1].size: expected an integer, got 'b'",
        ),
        (
            {"count": 1, "items": [{"sise": 1}]},
            "here.items[0]: unknown key 'sise'. Did you mean 'size'?",
        ),
        (
            {"count": 1, "rule": "onlin"},
            "here.rule: unknown update 'onlin'. Did you mean 'online'?",
        ),
        (
            {"count": 1, "rule": {"name": "lazy", "rule": {"name": "online", "unused": "kep"}}},
            "here.rule.rule.unused: expected resample or keep, got 'kep'. Did you mean 'keep'?",
        ),
        (
            {"count": 1, "rule": {"name": "lazy", "every": 0}},
            "here.rule.every: expected at least 1, got 0",
        ),
        (
            {"count": 1, "rule": {"name": "lazy", "rule": {"name": "anchored", "margin": 2}}},
            "here.rule.rule.margin: expected in (0, 1], got 2.0",
        ),
        (
            {"count": 1, "rule": 3},
            "here.rule: expected the update's name or a mapping with `name`, got 3",
        ),
        (
            {"count": 1, "rule": {"name": None}},
            "here.rule.name: expected one of anchored, frozen, lazy, online, got None",
        ),
        (
            {"count": 1, "other": {"every": 3}},
            "here.other: missing key 'name'. Known: anchored, frozen, lazy, online.",
        ),
        (
            {"count": 1, "other": 3},
            "here.other: expected the update's name or a mapping with `name` or null, got 3",
        ),
    ],
)
def test_errors_name_the_place_and_the_remedy(node, message):
    assert fails(Outer, node) == message


def test_a_mapping_edits_the_default_and_a_name_replaces_it():
    def rule(node):
        return build(Outer, {"count": 1, "rule": node}, "here").rule

    assert rule({"every": 2}) == Lazy(every=2, rule=Online(unused="keep"))
    assert rule({"rule": {"forgetting": 0.5}}) == Lazy(5, Online("keep", 0.5))
    assert rule({"rule": "frozen", "every": 4}).every == 4
    assert rule({"name": "lazy"}) == Lazy()
    assert rule("anchored") == rule({"name": "anchored"}) == Anchored()
    assert build(Outer, {"count": 1, "inner": {"size": 1}}, "here").inner == Inner(1, "seven")


def test_nothing_given_is_modified():
    node = {"count": "1e3", "widths": [1], "rule": {"name": "lazy", "rule": {"name": "online"}}}
    before = repr(node)
    build(Outer, node, "here")
    assert repr(node) == before


def test_defaults_of_lists_are_not_shared():
    one, two = (build(Outer, {"count": 1}, "here") for _ in range(2))
    one.names.append("x")
    assert two.names == []


# -- there and back -----------------------------------------------------------------------

numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63) + 1, 2**63 - 1)
inners = st.builds(Inner, integers, st.none() | st.text())
rules = st.recursive(
    st.builds(Online, st.sampled_from(["resample", "keep"]), st.floats(0.01, 1.0))
    | st.builds(Anchored, margin=st.floats(0.01, 1.0)),
    lambda inner: st.builds(Lazy, st.integers(1, 9), inner),
    max_leaves=3,
)
outers = st.builds(
    Outer,
    count=integers,
    rate=numbers,
    flag=st.booleans(),
    kind=st.sampled_from(["one", "two"]),
    level=st.sampled_from([1, 2]),
    widths=st.lists(integers).map(tuple),
    pair=st.tuples(numbers, numbers),
    names=st.lists(st.text()),
    limit=st.none() | numbers,
    items=st.lists(st.text() | inners).map(tuple),
    inner=inners,
    rule=rules,
    other=st.none() | rules,
    free=st.none() | st.dictionaries(st.text(), st.lists(integers)),
)


@settings(deadline=None)
@given(outers)
def test_build_undoes_plain(value):
    node = plain(value)
    assert build(Outer, node, "here") == value
    assert set(node) == set(Outer.__dataclass_fields__)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Outer.__dataclass_fields__, "name", "x"]), inner)
    ),
)


@settings(deadline=None)
@given(junk)
def test_junk_is_built_or_refused_in_one_line(node):
    try:
        built = build(Outer, node, "here")
    except RecipeError as error:
        message = str(error)
    else:
        assert isinstance(built, Outer)
        return
    assert message.startswith("here")
    assert len(message.splitlines()) == 1


def test_numpy_numbers_become_python_s():
    node = plain(Outer(count=np.int64(3), rate=np.float32(0.5), pair=(np.float64(1), 2)))
    assert [type(node[k]) for k in ("count", "rate")] == [int, float]
    assert [type(v) for v in node["pair"]] == [float, int]


@dataclass(frozen=True)
class Bounded:
    """A third party's, which checks nothing itself."""

    rate: Positive = 1.0
    decay: ShareBelowOne | None = None
    size: Count = 1
    rows: Annotated[int, Range(2, 10**9)] = 2
    most: Annotated[int, Range(2, 123_456)] = 2
    seed: Seed = 0


@pytest.mark.parametrize(
    ("name", "taken", "refused", "within"),
    [
        ("rate", 1e-9, 0.0, "above 0"),
        ("decay", 0.0, 1.0, "in [0, 1)"),
        ("decay", None, -1e-9, "in [0, 1)"),
        ("size", 1, 0, "at least 1"),
        ("rows", 10**9, 10**9 + 1, "in [2, 1e9]"),
        ("most", 123_456, 123_457, "in [2, 123456]"),
        ("seed", 2**31 - 1, 2**31, "in [0, 2^31)"),
    ],
)
def test_numbers_outside_the_range_of_their_annotation_are_refused(name, taken, refused, within):
    assert getattr(build(Bounded, {name: taken}, "here"), name) == taken
    with pytest.raises(RecipeError) as told:
        build(Bounded, {name: refused}, "here")
    assert str(told.value) == f"here.{name}: expected {within}, got {refused}"
    with pytest.raises(RecipeError, match=re.escape(f"Bounded.{name}: expected {within}, got")):
        check_fields(Bounded(**{name: refused}))


def test_the_signature_is_the_schema():
    assert signature(Inner) == ["size: 3  # an integer", "label: null  # text or null"]
    assert signature(Outer)[0] == "count:   # an integer (required)"
    assert signature(Lazy)[1].startswith('rule: {"name": "online", "unused": "resample"')
    assert signature(Bounded)[1] == "decay: null  # a finite number or null, in [0, 1)"
    assert expected(type(None)) == "null"
    assert expected(list[str]) == "a list, each text"


def test_what_is_no_field_may_have_any_annotation():
    """Python 3.10 does not evaluate a bare ClassVar: recipes of agents could not be read there."""
    module = types.ModuleType("bare")
    code = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "@dataclass(frozen=True)\nclass One:\n    losses: ClassVar = ()\n    size: int = 3\n"
        "@dataclass(frozen=True)\nclass Two(One):\n    more: float = 0.5\n"
    )
    sys.modules["bare"] = module
    try:
        exec(code, vars(module))
        assert fields_of(module.Two) == {"size": (int, 3), "more": (float, 0.5)}
    finally:
        del sys.modules["bare"]
