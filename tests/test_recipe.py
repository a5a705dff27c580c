"""Recipes: read, edited, refused, written and read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cotasp.dictionaries.solvers import Fista, Lars
from cotasp.dictionaries.updates import Lazy, Online
from cotasp.errors import RecipeError
from cotasp.modules.masks import TopK
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.encoders import SBERT
from cotasp.recipe import (
    Evaluation,
    Recipe,
    dump,
    from_node,
    load,
    loads,
    to_node,
    with_seed,
)
from cotasp.recipe_files import base_of, merge, read_node
from cotasp.registry import KINDS

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))  # ablations are sweeps, in tests/sweep


def refused(text: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(RecipeError) as caught:
        loads(text, overrides)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# -- the recipes that come along ----------------------------------------------------------


def test_there_are_recipes():
    assert {"smoke", "quickstart"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_recipe_loads_round_trips_and_says_how_to_run_it(path):
    recipe = load(path)
    assert loads(dump(recipe)) == recipe
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# cotasp run {path.relative_to(ROOT).as_posix()}"
    assert recipe.question.endswith("?") or recipe.question.endswith("."), "says what it is for"


# -- writing ------------------------------------------------------------------------------


def test_the_dump_writes_every_default_and_is_plain_yaml():
    node = yaml.safe_load(dump(Recipe()))
    assert list(node) == list(Recipe.__dataclass_fields__)
    assert node["encoder"] == {"name": "sbert", "model": "all-MiniLM-L6-v2", "cache": True}
    assert node["actor"]["hidden"] == [1024] * 4


def test_the_dump_is_fit_to_be_read():
    lines = dump(loads("dictionary: {update: {name: lazy, every: 3}}")).splitlines()
    assert "  hidden: [1024, 1024, 1024, 1024]" in lines
    assert "mask: {name: step, gradient: clipped}" in lines
    assert "evaluation:" in lines
    assert "    rule: {name: online, unused: resample, forgetting: 1.0}" in lines
    assert max(map(len, lines)) <= 100


@settings(deadline=None)
@given(st.text())
@example("\ud800 \U0001f600 \x85 \u2028 \0 \x7f")
@example("\x85")
@example("2020-01-01")
@example("yes")
@example("&a !b *c {d} [e] # f: g")
def test_any_text_survives(question):
    recipe = Recipe(question=question, encoder=SBERT(model=f"x{question}"))
    assert loads(dump(recipe)) == recipe


def component(kind: str, *without: str) -> st.SearchStrategy[str]:
    registry = KINDS[kind]
    builtin = [n for n in registry.names() if registry.location(n).startswith("cotasp.")]
    return st.sampled_from([n for n in builtin if n not in without])


positive = st.floats(1e-12, 1e12)
OVERRIDES = {
    "seed": st.integers(0, 2**31 - 1),
    "question": st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])),
    "stream": component("stream", "metaworld", "gymnasium"),
    "stream.horizon": st.integers(1, 10**6),
    "steps_per_task": st.integers(1, 10**6).map(lambda n: n * 40),
    "encoder": component("encoder"),
    "dictionary.solver": component("solver"),
    "dictionary.update": component("update"),
    "dictionary.lmbda": positive,
    "dictionary.init": st.sampled_from(["random", "svd", "texts"]),
    # which ask for a protection by tasks, or for an actor that is not normalised
    "mask": component("mask", "packnet", "wsn", "pnn", "progress_compress"),
    # which ask for a memory, for tasks that are learned together, or for Gaussian weights
    "protection": component("protection", "agem", "cloning", "pcgrad", "vcl"),
    "memory": st.sampled_from(["task", "shelf"]),
    "actor.hidden": st.lists(st.integers(128, 4096), min_size=1, max_size=6),
    "actor.log_std_range": st.tuples(st.floats(-30, 0), st.floats(0.01, 30)),
    "agent.target_entropy": st.none() | st.floats(-100, 100),
    "agent.critic.activation": st.sampled_from(["relu", "gelu"]),
    "agent.ensemble": st.sampled_from(["min", "mean"]),
    "agent.values.carry": st.sampled_from(["nothing", "weights"]),
    "agent.learning_rate": positive,
    "agent.gamma": st.floats(0, 1),
    "evaluation.every": st.integers(1, 10**4).map(lambda n: n * 40),
    "evaluation.threshold": st.floats(0, 1, exclude_min=True),
    "logger": st.sampled_from(["csv", "tensorboard", "wandb", "mlflow"]),
    "device": st.sampled_from(["cpu", "cuda", "cuda:3", "mps"]),
}


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=OVERRIDES))
def test_any_overrides_take_effect_and_round_trip(values):
    # JSON is YAML; str(1e-12) is what YAML reads as text
    recipe = loads(
        "agent: {warmup_steps: 0, n_step: 1}",  # they fit tasks and episodes of any length
        [f"{key}={json.dumps(value)}" for key, value in sorted(values.items())],
    )
    node = to_node(recipe)
    for key, value in values.items():
        found = node
        for part in key.split("."):
            found = found[part]
        if isinstance(found, dict):
            assert found["name"] == value
        else:
            assert found == (list(value) if isinstance(value, tuple) else value)
    assert loads(dump(recipe)) == recipe
    assert hash(loads(dump(recipe))) == hash(recipe)


# -- overrides and bases ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "overrides", "check"),
    [
        ("seed: 1", ["seed=2", "seed=3"], lambda r: r.seed == 3),
        ("seed: 1", [" seed = 2 "], lambda r: r.seed == 2),
        ("dictionary: {lmbda: 1e-3}", [], lambda r: r.dictionary.lmbda == 1e-3),
        ("seed: 1", ["dictionary.lmbda=1e-2"], lambda r: r.dictionary.lmbda == 1e-2),
        (
            "dictionary: {solver: {name: lars, tol: 1e-5}, lmbda: 1}",
            ["dictionary.solver=fista"],
            lambda r: r.dictionary.solver == Fista() and r.dictionary.lmbda == 1,
        ),
        (
            "dictionary: {solver: {name: lars, tol: 1e-5}}",
            ["dictionary.solver.max_iter=7"],
            lambda r: r.dictionary.solver == Lars(tol=1e-5, max_iter=7),
        ),
        ("mask: topk", ["mask.k=5"], lambda r: r.mask == TopK(k=5)),
        ("mask: step", ["mask=topk", "mask.k=5"], lambda r: r.mask == TopK(k=5)),
        ("mask: {name: topk, k: 5}", ["mask=topk"], lambda r: r.mask == TopK()),
        (
            "seed: 1",
            ["dictionary.update={name: lazy, rule: {name: online, unused: keep}}"],
            lambda r: r.dictionary.update == Lazy(rule=Online(unused="keep")),
        ),
        (
            "dictionary: {update: {name: lazy, every: 4}}",
            ["dictionary.update.rule.forgetting=0.5"],
            lambda r: r.dictionary.update == Lazy(4, Online(forgetting=0.5)),
        ),
        ("seed: 1", ["question=a=b"], lambda r: r.question == "a=b"),
        ("seed: 1", ["question=2020-01-01"], lambda r: r.question == "2020-01-01"),
        ("seed: 1", ["question="], None),
        (
            "actor: {hidden: [64]}",
            ["actor.std=exp", "mask=dense"],
            lambda r: r.actor == ActorSpec(hidden=(64,), std="exp"),
        ),
    ],
)
def test_overrides(text, overrides, check):
    if check is None:
        assert refused(text, overrides) == "recipe.question: expected text, got None"
    else:
        assert check(loads(text, overrides))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "override 'seed': expected key=value, e.g. dictionary.lmbda=1e-2"),
        ("=3", "override '=3': expected key=value, e.g. dictionary.lmbda=1e-2"),
        ("a..b=3", "override 'a..b=3': expected key=value, e.g. dictionary.lmbda=1e-2"),
        ("seed=[", "override 'seed=[': line 1: not YAML: "),
        ("seed=!!int 3", "override 'seed=!!int 3': line 1: tags (!) are not allowed"),
        ("sede=3", "recipe: unknown key 'sede'. Did you mean 'seed'?"),
        ("seed.x=3", "recipe.seed: expected an integer, got {'x': 3}"),
        ("dictionary.lamda=3", "recipe.dictionary: unknown key 'lamda'. Did you mean 'lmbda'?"),
        (
            "dictionary.solver=larz",
            "recipe.dictionary.solver: unknown solver 'larz'. Did you mean 'lars'?",
        ),
        ("dictionary=lars", "recipe.dictionary: expected a mapping of solver, update, lmbda"),
        ("base=x", "recipe: unknown key 'base'. Known: "),
        ("lmbda=3", "recipe: unknown key 'lmbda'. Did you mean 'dictionary.lmbda'?"),
        ("gama=3", "recipe: unknown key 'gama'. Did you mean 'agent.gamma'?"),
        (
            "hidden=[3]",
            "recipe: unknown key 'hidden'. Did you mean 'actor.hidden' or 'agent.critic.hidden'?",
        ),
    ],
)
def test_bad_overrides(override, message):
    assert refused("seed: 0", (override,)).startswith(message)


def test_merging_leaves_both_as_they_were():
    base, over = {"a": {"b": 1, "c": 2}, "d": "topk"}, {"a": {"b": 3}, "d": {"k": 1}}
    copies = json.dumps([base, over])
    assert merge(base, over) == {"a": {"b": 3, "c": 2}, "d": {"name": "topk", "k": 1}}
    assert json.dumps([base, over]) == copies


def test_a_base_is_edited_and_named_relative_to_the_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "top.yaml").write_text("mask: {name: topk, k: 9}\nactor: {hidden: [32, 16]}\n")
    for name in ("../top", "../top.yaml"):
        path = tmp_path / "sub" / "edit.yaml"
        path.write_text(f"base: {name}\nactor: {{std: exp}}\nmask: {{gradient: identity}}\n")
        recipe = load(path, ["mask.k=3"])
        assert recipe.mask == TopK(3, "identity")
        assert recipe.actor == ActorSpec(hidden=(32, 16), std="exp")
    path.write_text("base: ../top\nmask: sigmoid\n")
    assert type(load(path).mask).__name__ == "Sigmoid"


def test_what_is_no_such_file_hides_no_shipped_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert load("smoke") == load(ROOT / "recipes" / "smoke.yaml")
    (tmp_path / "note").write_text("Remember the milk.")
    (tmp_path / "note.yaml").write_text("seed: 3\n")
    (tmp_path / "other.yaml").write_text("base: note\n")
    assert load(tmp_path / "other.yaml").seed == 3
    for name in ("''", ".", "/"):
        (tmp_path / "other.yaml").write_text(f"base: {name}\n")
        with pytest.raises(RecipeError, match=r"other\.yaml: base: "):
            load("other.yaml")
    (tmp_path / "smoke.yaml").write_text("base: smoke\nseed: 7\n")
    assert load(tmp_path / "smoke.yaml") == load(ROOT / "recipes" / "smoke.yaml", ["seed=7"])


def test_a_base_that_is_not_beside_the_file_may_be_a_shipped_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    for name in ("smoke", "smoke.yaml"):
        path.write_text(f"base: {name}\nseed: 7\n")
        assert load(path) == load("smoke", ["seed=7"])
    (tmp_path / "smoke.yaml").write_text("mask: sigmoid\n")
    assert load(path) == loads("mask: sigmoid\nseed: 7\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "base: tpo",
            "edit.yaml: base: {dir}/tpo.yaml: no such file; did you mean {dir}/top.yaml?",
        ),
        ("base: zap", "edit.yaml: base: {dir}/zap.yaml: no such file; check the path"),
        ("base: 3", "edit.yaml: base: expected the name of a recipe, got 3"),
        ("base: [top]", "edit.yaml: base: expected the name of a recipe, got ['top']"),
        ("base: edit", "edit.yaml: base: {dir}/edit.yaml has a base of its own; one level is"),
        ("base: list", "edit.yaml: base: {dir}/list.yaml: expected a mapping, such as"),
    ],
)
def test_bad_bases(tmp_path, text, message):
    (tmp_path / "top.yaml").write_text("seed: 1")
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "edit.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "edit.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/" + message.format(dir=tmp_path))


def test_seeds():
    assert with_seed(Recipe(), None) == Recipe()
    assert with_seed(Recipe(), 7) == Recipe(seed=7)
    with pytest.raises(RecipeError, match="seed: expected in"):
        with_seed(Recipe(), -7)


def test_evaluation_takes_its_range():
    assert Evaluation(threshold=1.0).threshold == 1.0
    with pytest.raises(RecipeError, match="threshold: expected in"):
        Evaluation(threshold=1.1)


@pytest.mark.parametrize(
    ("steps", "warmup", "every"),
    [(40, 4, 40), (3_000, 300, 280), (20_000, 2_000, 2_000), (10**6, 2_000, 20_000)],
)
def test_what_is_left_out_fits_the_budget(steps, warmup, every):
    recipe = loads(f"steps_per_task: {steps}\nagent: {{n_step: 3}}")
    assert recipe.agent.warmup_steps == warmup
    assert recipe.evaluation.every == recipe.evaluate_every == every
    assert loads(dump(recipe)) == recipe
    given = loads(
        f"steps_per_task: {steps}\nagent: {{warmup_steps: 0}}\nevaluation: {{every: 400}}"
    )
    assert (given.agent.warmup_steps, given.evaluate_every) == (0, 400)


# -- one place per default ----------------------------------------------------------------

FREE_IN_THE_REFERENCE = {  # what changes no number of the method, or is no part of it
    "seed", "encoder.cache", "recall", "agent.execution", "agent.cuda_graphs", "agent.compile",
    "evaluation.average", "evaluation.threshold", "evaluation.return_threshold", "logger", "device",
    "checkpoint_every", "faults",
}  # fmt: skip


def unwritten(full, written, place=""):
    """Places of a resolved recipe that a file leaves to defaults."""
    for key, value in full.items():
        if key == "name":
            continue
        if key not in written:
            yield f"{place}{key}"
        elif isinstance(value, dict) and isinstance(written[key], dict):
            yield from unwritten(value, written[key], f"{place}{key}.")


def leaves(node, place=()):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, (*place, key))
        elif key not in ("name", "question"):
            yield (*place, key)


def without(node, place):
    key, *rest = place
    if not rest:
        return {k: v for k, v in node.items() if k != key}
    return {**node, key: without(node[key], rest)}


def test_no_other_recipe_writes_out_what_is_a_default_or_its_base_s_anyway():
    """A default has one place."""
    idle = []
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        node = read_node(path)
        if path.stem == "reference_cw10" or {"axes", "recipes"} & node.keys():
            continue
        base = base_of(path, node.pop("base")) if "base" in node else {}
        whole = to_node(from_node(merge(base, node)))
        for place in leaves(node):
            try:
                if to_node(from_node(merge(base, without(node, place)))) == whole:
                    idle.append((path.name, ".".join(place)))
            except RecipeError:  # it is needed
                pass
    assert idle == []


def test_the_reference_leaves_nothing_of_the_method_to_defaults():
    path = ROOT / "recipes" / "reference_cw10.yaml"
    assert set(unwritten(to_node(load(path)), read_node(path))) == FREE_IN_THE_REFERENCE
