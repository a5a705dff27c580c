"""Which trials a sweep has, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotasp.__main__ import parser
from cotasp.commands.sweep import make_plan
from cotasp.errors import RecipeError
from cotasp.recipe import Recipe, load, loads
from cotasp.sweep.plan import (
    Plan,
    axis_of,
    directories,
    directory_name,
    load_sweep,
    seeds_of,
    split_values,
)

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "recipes" / "smoke.yaml"
SWEEPS = sorted(
    path for room in ("ablations", "sweeps") for path in (ROOT / "recipes" / room).glob("*.yaml")
)


def plan(*axes: str, **more) -> Plan:
    return Plan(recipe=SMOKE, axes=dict(map(axis_of, axes)), **more)


def test_an_axis_given_twice_is_refused():
    twice = ["--axis", "agent.gamma=0.9", "--axis", "agent.gamma=0.8"]
    with pytest.raises(RecipeError, match="--axis: the same key stands twice"):
        make_plan(parser().parse_args(["sweep", str(SMOKE), *twice]))


def test_every_combination_of_axes_and_seeds_is_a_trial():
    made = plan("dictionary.update=online,frozen", "agent.gamma=0.9,0.8", seeds=(0, 3))
    trials = made.resolved()
    assert len(trials) == 8
    chosen = trials["dictionary.update=frozen,agent.gamma=0.8/seed3"]
    assert chosen == load(SMOKE, ["dictionary.update=frozen", "agent.gamma=0.8", "seed=3"])


def test_without_axes_there_is_one_variant():
    assert list(plan(seeds=(0, 1)).resolved()) == ["all/seed0", "all/seed1"]


@given(st.lists(st.sampled_from(["1", "[1,2]", "{a: 1, b: [2,3]}", "x"]), min_size=1))
def test_commas_within_brackets_do_not_split(values):
    assert split_values(",".join(values)) == values


@given(st.text(min_size=1, max_size=200))
def test_directories_are_safe_and_apart(name):
    made = directory_name(name)
    assert made == directory_name(name)
    assert not set(made) & set('/\\:*?"<>| \n\0')
    assert made not in ("", ".", "..")
    assert directory_name(name + "x") != made


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("protection={name: l2, weight: 10}", "protection=l2,weight=10"),
        ('protection={"name": "l2", "weight": 10.0}', "protection=l2,weight=10.0"),
        ("actor.hidden=[256,256]", "actor.hidden=256+256"),
        ("protection=[{name: l2, weight: 1}, freeze]", "protection=l2+weight=1+freeze"),
        ("mask={name: topk, k: 9},seed=1", "mask=topk,k=9,seed=1"),
    ],
)
def test_directories_of_values_in_one_line_can_be_read(name, folder):
    assert directory_name(name) == folder


def test_variants_never_share_a_directory():
    names = ["mask={name: topk, k: 9}", "mask={name: topk, k:  9}", "mask=topk,k=9", "mask=step"]
    folders = directories(names)
    assert len(set(folders.values())) == 4
    assert [folders[name] for name in names[2:]] == names[2:]
    assert all(folders[name].startswith("mask=topk,k=9-") for name in names[:2])


def test_a_variant_has_its_directory_whichever_others_are_run():
    axes = {"x": {"[8,8]": ["agent.gamma=0.5"], "8+8": ["agent.gamma=0.6"]}}
    plan = Plan(SMOKE, axes)
    trials = plan.resolved()
    for name, folders in plan.facts(trials)["trials"].items():
        alone = replace(plan, only=(name,))
        (trial,) = alone.resolved()
        assert trials[trial].agent == alone.resolved()[trial].agent
        assert alone.facts([trial])["trials"] == {name: folders}


def test_a_seed_that_stands_twice_is_told():
    with pytest.raises(RecipeError, match="--seeds: expected each seed once, got 1 more than once"):
        seeds_of([1, 2, 1], "--seeds")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["dictionary.updat=online,frozen"], "unknown key 'updat'. Did you mean 'update'?"),
        (["dictionary.update=onlin"], "unknown update 'onlin'. Did you mean 'online'?"),
        (["dictionary.update=online", "dictionary.update.forgetting=0.5"], "contradict"),
        (["agent.gamma=0.9,0.90"], "are the same recipe"),
        (["agent.gamma=0.9,0.9"], "two values are called '0.9'"),
        (["seed=1,2"], "name them by --seeds"),
        (["mask=step,dense", "mask.gradient=identity,clipped"], "both set mask"),
    ],
)
def test_axes_that_cannot_be_are_refused(axes, message):
    with pytest.raises(RecipeError) as caught:
        plan(*axes).resolved()
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["agent.gamma", "agent.gamma=", "=3", ""])
def test_an_axis_that_names_nothing_is_refused(text):
    with pytest.raises(RecipeError, match="expected key=value"):
        axis_of(text)


def test_the_baseline_is_a_variant():
    with pytest.raises(RecipeError, match=r"Did you mean 'agent\.gamma=0\.9'"):
        plan("agent.gamma=0.9,0.8", baseline="gamma=0.9").resolved()


@pytest.mark.parametrize("given", [0, -1, [], "x", True, [1.5]])
def test_seeds_are_a_number_or_a_list(given):
    with pytest.raises(RecipeError, match=r"^here: expected at least 1 or a list of seeds, got "):
        seeds_of(given, "here")
    assert (seeds_of(3, ""), seeds_of([7, 2], "")) == ((0, 1, 2), (7, 2))


def test_one_seed_may_be_named_alone():
    for text, seeds in (("7,", (7,)), ("3,7", (3, 7)), ("3", (0, 1, 2))):
        assert make_plan(parser().parse_args(["sweep", str(SMOKE), "--seeds", text])).seeds == seeds


def test_single_tasks_are_trials_of_the_baseline():
    made = plan("agent.gamma=0.9,0.8", baseline="agent.gamma=0.8", single_tasks=True).resolved()
    single = made["single/left/seed0"]
    assert single.stream.goals == ("left",)
    assert single.agent.gamma == 0.8
    assert [name for name in made if name.startswith("single/")] == [
        f"single/{goal}/seed0" for goal in ("right", "left", "top")
    ]
    facts = plan("agent.gamma=0.9,0.8", single_tasks=True).facts(made)
    assert facts["trials"]["single/left"] == {"0": "single/left/seed0"}
    assert {d for seeds in facts["trials"].values() for d in seeds.values()} == set(made)


@pytest.mark.parametrize("stream", ["cw10", "{name: metaworld, tasks: [reach-v3, reach-v3]}"])
def test_meta_world_tasks_can_be_learned_alone(stream, tmp_path):
    (tmp_path / "r.yaml").write_text(f"stream: {stream}\n")
    made = Plan(recipe=tmp_path / "r.yaml", single_tasks=True).resolved()
    whole = loads(f"stream: {stream}").stream.make_tasks()
    singles = {k: v for k, v in made.items() if k.startswith("single/")}
    assert len(singles) == len({task.env for task in whole})
    for recipe in singles.values():
        (task,) = recipe.stream.make_tasks()
        assert task.text == next(t.text for t in whole if t.env == task.env)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_every_shipped_sweep_can_be_run(path):
    """It opens with its command and its question, names a baseline, and its variants differ."""
    lines = path.read_text(encoding="utf-8").splitlines()
    command = f"# cotasp sweep recipes/{path.parent.name}/{path.name}"
    assert lines[0] in (command, f"{command} --out runs/{path.stem}")
    assert lines[1].startswith("question: ")
    made = load_sweep(path)
    assert made.question.endswith(("?", "."))
    assert len(made.recipes()) >= 2
    assert made.baseline in made.recipes()
    assert len(made.seeds) >= 3 or path.stem.endswith("_toy")


def test_recipe_files_may_vary_each_with_overrides_of_its_own(tmp_path):
    for name, threshold in (("one", 0.8), ("two", 0.9)):
        evaluation = f"evaluation: {{threshold: {threshold}}}"
        (tmp_path / f"{name}.yaml").write_text(f"stream: point\n{evaluation}\nmask: step\n")
    (tmp_path / "s.yaml").write_text(
        "recipes: {one: [one.yaml], other: [two.yaml, mask=dense]}\n"
        "axes: {agent.gamma: [0.9, 0.8]}\nbaseline: 'one,agent.gamma=0.9'\n"
    )
    made = load_sweep(tmp_path / "s.yaml")
    recipes = made.recipes()
    assert list(recipes) == [
        f"{file},agent.gamma={gamma}" for file in ("one", "other") for gamma in (0.9, 0.8)
    ]
    chosen = recipes["other,agent.gamma=0.8"]
    assert chosen == load(tmp_path / "two.yaml", ["mask=dense", "agent.gamma=0.8"])
    (tmp_path / "list.yaml").write_text("recipes: [one.yaml, two.yaml]\n")
    assert list(load_sweep(tmp_path / "list.yaml").recipes()) == ["one", "two"]
    arguments = parser().parse_args(["sweep", str(tmp_path / "list.yaml"), "--only", "two"])
    assert list(make_plan(arguments).recipes()) == ["two"]
    (tmp_path / "b.yaml").write_text("recipes: [one.yaml, two.yaml]\nbaseline: one\n")
    words = ["sweep", str(tmp_path / "b.yaml"), "--only", "two"]
    assert make_plan(parser().parse_args(words)).facts([])["baseline"] is None
    with pytest.raises(RecipeError, match=r"--baseline: expected one of --only two, got 'one'"):
        make_plan(parser().parse_args([*words, "--baseline", "one"])).recipes()
    with pytest.raises(RecipeError, match=r"no variant 'tow'. Did you mean 'two'"):
        Plan(made.recipe, others=load_sweep(tmp_path / "list.yaml").others, only=["tow"]).recipes()


def test_an_edit_of_what_an_axis_varies_is_refused():
    axis = ["--axis", "agent.gamma=0.9,0.8"]
    words = ["sweep", "smoke", "mask=dense", "agent.gamma=0.7", *axis]
    with pytest.raises(RecipeError, match=r"agent\.gamma=0\.7: an axis varies agent\.gamma; leave"):
        make_plan(parser().parse_args(words))
    assert make_plan(parser().parse_args([*words[:3], *axis])).overrides == ["mask=dense"]


def test_a_sweep_is_not_taken_for_a_recipe():
    with pytest.raises(RecipeError, match=r"a sweep, not a recipe; run it with `cotasp sweep"):
        load(SWEEPS[0])


def test_a_sweep_file_is_checked_by_key(tmp_path):
    for body, message in (
        ("recipe: r.yaml\naxis: {}\n", "unknown key 'axis'. Did you mean 'axes'?"),
        ("axes: {}\n", "missing key 'recipe'"),
        ("recipes: [r.yaml]\nrecipe: r.yaml\n", "expected either this key or recipe, got both"),
        ("recipes: r.yaml\n", "recipes: expected a list of files, or names of [file, key=value"),
        ("recipes: {a: []}\n", "recipes.a: expected a file"),
        ("recipes: [r.yaml, r.yaml]\n", "recipes.r: expected a file, and a name that is there"),
        ("recipe: r.yaml\naxes: {seed: 3}\n", "axes.seed"),
        ("recipe: r.yaml\naxes: {seed: []}\n", "names nothing"),
        ("recipe: r.yaml\naxes: {x: {a: b}}\n", "axes.x.a"),
        ("recipe: r.yaml\nsingle_tasks: 'no'\n", "single_tasks: expected true or false, got 'no'"),
        (
            "recipe: r.yaml\naxes: {u: [{name: lazy, every: 3}, {name: lazy, every: 10}]}\n",
            "axes.u: two values are called 'lazy'; name them apart",
        ),
    ):
        (tmp_path / "s.yaml").write_text(body)
        with pytest.raises(RecipeError) as caught:
            load_sweep(tmp_path / "s.yaml")
        assert message in str(caught.value)


def test_variants_whose_names_have_commas_are_chosen_by_name(tmp_path):
    axes = ["--axis", "agent.gamma=0.9,0.8", "--axis", "mask=step,{name: dense}"]
    words = ["sweep", str(SMOKE), *axes, "--only"]
    wanted = ["agent.gamma=0.8,mask=step", "agent.gamma=0.9,mask={name: dense}"]
    made = make_plan(parser().parse_args([*words, " , ".join(wanted)]))
    assert sorted(made.recipes()) == sorted(wanted)
    with pytest.raises(RecipeError, match=r"no variant 'agent.gamma=0.8,mask=stp'. Did you mean"):
        make_plan(parser().parse_args([*words, "agent.gamma=0.8,mask=stp"])).recipes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipes: []", "recipes: expected a list of files"),
        ("recipe:", "recipe: expected a file, got None"),
        ("recipe: [smoke]", "recipe: expected a file, got"),
    ],
)
def test_sweeps_of_nothing_are_refused(text, message, tmp_path):
    (tmp_path / "s.yaml").write_text(f"{text}\naxes: {{seed: [1]}}\n")
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_sweep(tmp_path / "s.yaml")


def test_quoted_values_of_an_axis_stay_text(tmp_path):
    (tmp_path / "s.yaml").write_text(
        f"recipe: {SMOKE}\nquestion:\naxes: {{question: ['1', 'true', 'Why?', 'a: b']}}\n"
    )
    made = load_sweep(tmp_path / "s.yaml")
    assert made.question == ""
    read = [load(variant.recipe, variant.overrides) for variant in made.variants().values()]
    assert [recipe.question for recipe in read] == ["1", "true", "Why?", "a: b"]


def asked(*words: str) -> Plan:
    """What the command line asks for."""
    return make_plan(parser().parse_args(["sweep", *words]))


@pytest.mark.parametrize(
    ("edit", "axis", "message"),
    [
        ("agent.batch_size=8", "agent=sac,td3", r"the axis 'agent' replaces agent, .* batch_size:"),
        ("mask.k=5", "mask=topk,step", r"mask\.k=5: the axis 'mask' replaces mask"),
        ("mask=topk", "mask=topk,step", r"mask=topk: an axis varies mask; leave out one"),
    ],
)
def test_what_an_axis_would_drop_is_refused(edit, axis, message):
    with pytest.raises(RecipeError, match=message):
        asked("smoke", edit, "--axis", axis)


def test_an_axis_may_vary_what_an_edit_chose_or_other_fields_beside_it():
    recipes = asked("smoke", "mask={name: topk, k: 3}", "--axis", "mask.k=4,5").recipes()
    assert [recipe.mask.k for recipe in recipes.values()] == [4, 5]
    axis = "actor={hidden: [64, 64]},{hidden: [32, 32]}"
    recipes = asked("smoke", "actor.activation=tanh", "--axis", axis).recipes()
    found = [(recipe.actor.hidden, recipe.actor.activation) for recipe in recipes.values()]
    assert found == [((64, 64), "tanh"), ((32, 32), "tanh")]


def test_the_command_line_has_the_last_word_on_files_with_edits_of_their_own(tmp_path):
    (tmp_path / "r.yaml").write_text("stream: point\n")
    (tmp_path / "s.yaml").write_text(
        "recipes: {small: [r.yaml, steps_per_task=400, mask=dense], large: [r.yaml]}\n"
    )
    made = asked(str(tmp_path / "s.yaml"), "steps_per_task=200").recipes()
    assert [recipe.steps_per_task for recipe in made.values()] == [200, 200]
    with pytest.raises(RecipeError, match=r"mask=dense: an axis varies mask"):
        asked(str(tmp_path / "s.yaml"), "--axis", "mask=topk,step")


@pytest.mark.parametrize("axis", ["checkpoint_every=50,1000", "question=a,b", "logger=csv,wandb"])
def test_variants_that_a_report_cannot_tell_apart_are_refused(axis):
    with pytest.raises(RecipeError, match=r"the same recipe but for question and seed and logger"):
        asked("smoke", "--axis", axis).recipes()


def test_single_tasks_are_the_baselines_whatever_is_wanted(tmp_path):
    def singles(*words: str) -> dict[str, Recipe]:
        made = asked(*words, "--single-tasks").resolved()
        return {name: recipe for name, recipe in made.items() if name.startswith("single/")}

    plain, file = ["smoke", "--axis", "mask=topk,dense,step"], tmp_path / "s.yaml"
    first = singles(*plain)
    assert (
        first
        == singles(*plain, "--only", "mask=topk")
        == singles(*plain, "--baseline", "mask=topk")
    )
    assert first != singles(*plain, "--baseline", "mask=dense")
    file.write_text("recipe: smoke\naxes: {mask: [topk, dense, step]}\nbaseline: mask=topk\n")
    assert singles(str(file), "--only", "mask=step") == first
    with pytest.raises(RecipeError, match=r"--only leaves out; name .* by --baseline"):
        singles(*plain, "--only", "mask=step")


def test_a_seed_taken_for_a_count_is_refused():
    with pytest.raises(
        RecipeError, match=r"--seeds: expected at most 10,000 seeds, .*: 20240613,$"
    ):
        asked("smoke", "--seeds", "20240613")
    assert asked("smoke", "--seeds", "20240613,").seeds == (20240613,)
    with pytest.raises(RecipeError, match=r"of that number alone: \[99999999999\]$"):
        seeds_of(99999999999, "s.yaml: seeds")


def test_a_sweep_file_may_name_a_shipped_recipe_from_anywhere(tmp_path):
    (tmp_path / "s.yaml").write_text("recipe: smoke\naxes: {mask: [topk, dense]}\n")
    assert len(load_sweep(tmp_path / "s.yaml").recipes()) == 2
    (tmp_path / "t.yaml").write_text("recipes: [smoke, quickstart]\n")
    assert list(load_sweep(tmp_path / "t.yaml").recipes()) == ["smoke", "quickstart"]
