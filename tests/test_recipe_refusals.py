"""Recipes that cannot be used: one line, its place, what was expected, what came, the remedy."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cotasp.errors import RecipeError
from cotasp.recipe import Recipe, dump, load, loads


def refused(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        loads(text)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "r.yaml: no such file; did you mean {dir}/rr.yaml?"),
        (b"", "r.yaml: expected a mapping, such as `seed: 0`, got nothing"),
        (b"# only a comment\n", "r.yaml: expected a mapping, such as `seed: 0`, got nothing"),
        (b"- seed\n", "r.yaml: expected a mapping, such as `seed: 0`, got a list"),
        (b"seed", "r.yaml: expected a mapping, such as `seed: 0`, got a single value"),
        (b"\xff\xfe\x00", "r.yaml: cannot read the recipe: not UTF-8 text"),
        (b"seed: 1\nseed: [", "r.yaml: line 2: not YAML: "),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "rr.yaml").write_text("seed: 0")
    if content is not None:
        (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "r.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/" + message.format(dir=tmp_path))


def test_a_recipe_among_recipes_is_suggested(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "smoke.yaml").write_text("seed: 0")
    (tmp_path / "smoke2.yaml").write_text("seed: 0")
    for name in ("smoke", "smoke.yaml"):
        with pytest.raises(RecipeError, match=r"; did you mean .*/recipes/smoke\.yaml\?$"):
            load(tmp_path / name)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot read the recipe: Is a directory$"):
        load(tmp_path)
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load(f"{tmp_path}/\0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # no more of YAML than names and numbers
        ("seed: !!python/object/apply:os.system [x]", "recipe: line 1: tags (!) are not allowed"),
        ("seed: !!python/name:os.system", "recipe: line 1: tags (!) are not allowed"),
        ("seed: 0\nquestion: !new {a: 1}", "recipe: line 2: tags (!) are not allowed"),
        ("seed: !!int '3'", "recipe: line 1: tags (!) are not allowed; write the value itself"),
        ("question: ! x", "recipe: line 1: tags (!) are not allowed"),
        ("question: !!binary aGk=", "recipe: line 1: tags (!) are not allowed"),
        ("!!map {seed: 1}", "recipe: line 1: tags (!) are not allowed"),
        ("seed: &s 1", "recipe: line 1: anchors and aliases (&, *) are not allowed"),
        ("seed: 1\nsteps_per_task: *s", "recipe: line 2: anchors and aliases"),
        ("mask: &m {name: topk}\nencoder:\n  <<: *m", "recipe: line 1: anchors and aliases"),
        ("<<: {seed: 1}", "recipe: unknown key '<<'"),
        ("seed: 1\nseed: 2", "recipe: line 2: key 'seed' stands twice; remove one"),
        ("mask:\n  k: 1\n  'k': 2", "recipe: line 3: key 'k' stands twice; remove one"),
        ("? [a]\n: 3", "recipe: line 1: expected a word as key, got a sequence"),
        ("? {a: 1}\n: 3", "recipe: line 1: expected a word as key, got a mapping"),
        ("seed: 1\n---\nseed: 2", "recipe: line 2: not YAML: but found another document"),
        ("seed:\n\t- 1", "recipe: line 2: not YAML: found character"),
        ("seed: 0\nquestion: \x07", "recipe: line 2: not YAML: unacceptable character #x0007"),
        ("question: " + "[" * 5000, "recipe: line 1: nested too deeply for a recipe"),
        ("seed: " + "9" * 5000, "recipe: not YAML: Exceeds the limit"),
        ("seed: 0x" + "f" * 5000, "recipe.seed: expected an integer, got '0xfff"),
        # names, keys and values
        ("encodr: sbert", "recipe: unknown key 'encodr'. Did you mean 'encoder'?"),
        ("3: 4", "recipe: unknown key '3'. Known: actor, agent"),
        ("yes: 4", "recipe: unknown key 'yes'. Known: actor, agent"),
        ("null: 4", "recipe: unknown key 'null'. Known: actor, agent"),
        ("encoder: sbrt", "recipe.encoder: unknown encoder 'sbrt'. Did you mean 'sbert'?"),
        ("encoder: os:system", "recipe.encoder: unknown encoder 'os:system'. Known: onehot"),
        ("encoder: null", "recipe.encoder: expected the encoder's name or a mapping with `name`"),
        ("encoder: {modl: x}", "recipe.encoder: unknown key 'modl'. Did you mean 'model'?"),
        (
            "encoder: {name: [a]}",
            "recipe.encoder.name: expected one of onehot, random, sbert, tfidf",
        ),
        ("seed: null", "recipe.seed: expected an integer, got None"),
        ("seed: true", "recipe.seed: expected an integer, got True"),
        ("seed: 1.5", "recipe.seed: expected an integer, got 1.5"),
        ("seed: -1", "recipe.seed: expected in [0, 2^31), got -1"),
        ("agent: {gamma: .nan}", "recipe.agent.gamma: expected a finite number or null, got nan"),
        ("agent: {tau: 1e999}", "recipe.agent.tau: expected a finite number, got '1e999'"),
        ("question: 3", "recipe.question: expected text, got 3; write it in quotes"),
        ("question: no", "recipe.question: expected text, got False; write it in quotes"),
        (
            "logger: csvv",
            "recipe.logger: expected csv or tensorboard or wandb or mlflow, got 'csvv'. Did you",
        ),
        ("stream: metaworld", "recipe.stream: missing key 'tasks' (a list, each text or a mapping"),
        (
            "stream: {name: metaworld, tasks: [reach-v3, push-v9]}",
            "recipe.stream.tasks[1].env: expected a Meta-World v3 task, got 'push-v9'. "
            "Did you mean 'push-v3'?",
        ),
        (
            "stream: {name: metaworld, tasks: [{env: push-v3, text: ' '}]}",
            "recipe.stream.tasks[0].text: expected a text that describes the task, got ' ' as text",
        ),
        (
            "stream: {name: point, goals: [left, {env: right, text: [Go., ...]}]}",
            "recipe.stream.goals[1].text: expected a text that describes the task, got '...' as te",
        ),
        (
            "stream: {name: gymnasium, tasks: [{env: A-v0, text: a, return_range: [1, 0]}]}",
            "recipe.stream.tasks[0].return_range: expected [low, high], got [1.0, 0.0]",
        ),
        (
            "stream: {name: gymnasium, tasks: [{env: A-v0, text: a, return_range: [0, 1], "
            "success_return: 1}]}",
            "recipe.stream.tasks[0].return_range: expected it or success_return, got both",
        ),
        ("stream: {name: point, goals: [rihgt]}", "recipe.stream.goals[0]: expected a goal, got"),
        # what must fit together
        ("frames_per_batch: 0", "recipe.frames_per_batch: expected in [1, 1e5], got 0"),
        ("frames_per_batch: 200000", "recipe.frames_per_batch: expected in [1, 1e5], got 200000"),
        ("agent: {batch_size: 200000}", "recipe.agent.batch_size: expected in [1, 1e5], got 20"),
        (
            "steps_per_task: 1510\nframes_per_batch: 40",
            "recipe.steps_per_task: expected a multiple of frames_per_batch (40), got 1510; choose "
            "1520",
        ),
        (
            "steps_per_task: 6000\nframes_per_batch: 300\nevaluation: {every: 1000}",
            "recipe.evaluation.every: expected a multiple of frames_per_batch (300), got 1000; "
            "choose 900",
        ),
        (
            "stream: {name: point, horizon: 30, action_repeat: 4}",
            "recipe.stream.action_repeat: expected a divisor of the 30 steps of an episode, got 4; "
            "use 3, or another horizon",
        ),
        (
            "stream: {name: point, horizon: 30, action_repeat: 1000000000000}",
            "recipe.stream.action_repeat: expected a divisor of the 30 steps of an episode, got "
            "1000000000000; use 30, or another horizon",
        ),
        (
            "stream: {name: cw10, action_repeat: 0}",
            "recipe.stream.action_repeat: expected at least",
        ),
        (
            "stream: {name: cw10, action_repeat: 8}\nframes_per_batch: 50",
            "recipe.frames_per_batch: expected a multiple of stream.action_repeat (8), got 50",
        ),
        ("agent: {n_step: 0}", "recipe.agent.n_step: expected at least 1, got 0"),
        ("agent: {clip: 0}", "recipe.agent.clip: expected above 0, got 0.0"),
        ("agent: {actor_average: 1}", "recipe.agent.actor_average: expected in [0, 1), got 1.0"),
        ("agent: {warmup_hold: 0.5}", "recipe.agent.warmup_hold: expected at least 1, got 0.5"),
        ("agent: {final_learning_rate: 2}", "recipe.agent.final_learning_rate: expected in (0, 1]"),
        ("evaluation: {every: 0}", "recipe.evaluation.every: expected at least 1, got 0"),
        ("evaluation: {threshold: 0}", "recipe.evaluation.threshold: expected in (0, 1], got 0.0"),
        (
            "device: gpu",
            "recipe.device: expected cpu, cuda, cuda:1, mps or xpu, got 'gpu'. Did you",
        ),
        ("device: cuda:x", "recipe.device: expected cpu, cuda, cuda:1, mps or xpu, got 'cuda:x'"),
        (
            "mask: {name: topk, k: 65}\nactor: {hidden: [128, 64]}",
            "recipe.mask.k: expected at most 64, the smallest width in actor.hidden, got 65",
        ),
        (
            "protection: [ewc, none]",
            "recipe.protection: Unprotected keeps nothing and cannot be combined with others",
        ),
        (
            "protection: [freeze, {name: freeze, by: tasks}]",
            "recipe.protection: Freeze is there twice; merge the two",
        ),
        (
            "renewals: [redo, {name: redo, every: 7}]",
            "recipe.renewals: ReDo is there twice; remove",
        ),
        (
            "mask: packnet",
            "recipe.protection: expected one that freezes single weights, for PackNet leaves the "
            "others to later tasks, got Freeze, which freezes all between used neurons; use",
        ),
        (
            "{agent: ppo, protection: agem, memory: shelf}",
            "recipe.agent: expected one that keeps rows of finished tasks, for AGEM rehearses "
            "them, got PPO, which trains on its latest batch alone; use sac or td3",
        ),
        ("{agent: ppo, memory: shelf}", "recipe.memory: expected task, for PPO trains on its late"),
        ("agent: {name: td3, target_entropy: -1}", "recipe.agent: unknown key 'target_entropy'."),
        (
            "agent: {name: td3, policy_delay: 0}",
            "recipe.agent.policy_delay: expected at least 1, got 0",
        ),
        (
            "agent: {name: td3, noise_clip: -0.5}",
            "recipe.agent.noise_clip: expected at least 0, got -0.5",
        ),
        ("agent: {name: sac, policy_delay: 2}", "recipe.agent: unknown key 'policy_delay'. Known:"),
        ("mask: {name: dense, gradient: identity}", "recipe.mask: unknown key 'gradient'. Known"),
        ("renewals: [{name: redo, every: 0}]", "recipe.renewals[0].every: expected at least 1"),
        ("actor: {hidden: []}", "recipe.actor.hidden: expected at least one width"),
        (
            "actor: {hidden: [0]}",
            "recipe.actor.hidden: expected at least one width, each at least 1",
        ),
        ("actor: {hidden: [true]}", "recipe.actor.hidden[0]: expected an integer, got True"),
        ("base: x", "recipe: base: only a recipe file can have one"),
    ],
)
def test_bad_recipes(text, message):
    assert refused(text).startswith(message)


def test_what_only_just_fits():
    assert loads("mask: {name: topk, k: 64}\nactor: {hidden: [128, 64]}").mask.k == 64
    assert loads("steps_per_task: 2100\nframes_per_batch: 300\nevaluation: {every: 4000}")
    assert loads("agent: {n_step: 30}")  # as many as an episode has
    assert loads("\ufeffseed: 3").seed == 3
    assert loads("{}") == Recipe()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("protection: {name: ewc, samples: 0}", "samples: expected in [1, 1e5], got 0"),
        ("protection: {name: mas, samples: 0}", "samples: expected in [1, 1e5], got 0"),
        ("protection: {name: agem, rehearsal: 0}", "rehearsal: expected in [1, 1e5], got 0"),
        ("protection: {name: cloning, rehearsal: 0}", "rehearsal: expected in [1, 1e5], got 0"),
        ("memory: {name: shelf, size: 0}", "size: expected in [1, 1e9], got 0"),
        ("memory: {name: reservoir, size: 0}", "size: expected in [1, 1e9], got 0"),
        ("memory: {name: mixed, size: 0}", "size: expected in [1, 1e9], got 0"),
        (
            "mask: {name: sigmoid, start: 1.0, stop: 2.0}",
            "0 < stop <= start, got stop 2.0",
        ),
        ("recall: {name: nearest, threshold: 2}", "threshold: expected in (0, 1], got 2"),
    ],
)
def test_numbers_out_of_range(node, message):
    kind = node.partition(":")[0]
    assert re.match(rf"recipe\.{kind}[.:]", refused(node))
    assert message in refused(node)


YAMLISH = st.text(
    st.sampled_from(" \n\t:-[]{},'\"!&*?|>%@#<=~.0123ex_seedmaskname\u00e9"), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(YAMLISH | YAMLISH.map("seed: {}".format) | YAMLISH.map("mask: {{name: topk, k: {}}}".format))
@example("seed: 0x_")
@example("question: 2020-13-45")
@example("question: =")
@example("question: 190:20:30")
def test_any_text_is_a_recipe_or_refused_in_one_line(text):
    try:
        recipe = loads(text)
    except RecipeError as error:
        message = str(error)
    else:
        assert loads(dump(recipe)) == recipe
        return
    assert re.match(r"recipe[.:]", message)
    assert len(message.splitlines()) == 1
