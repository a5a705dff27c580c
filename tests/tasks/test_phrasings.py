"""Tasks with several texts, and the phrasings that are shipped."""

from __future__ import annotations

import re

import pytest
import torch

from cotasp.continual.twins import check_told_apart
from cotasp.errors import RecipeError
from cotasp.prompting.texts import normal_form
from cotasp.recipe import dump, loads
from cotasp.tasks import CW10, Gymnasium, MetaWorld, Point
from cotasp.tasks.texts import GOALS, TEXTS, phrasings


def test_every_task_and_goal_has_six_phrasings_and_no_two_are_alike():
    texts = [*TEXTS.values(), *(text for *_, text in GOALS.values())]
    for name in (*TEXTS, *GOALS):
        taught, held_out = phrasings(name), phrasings(name, "held_out")
        assert len(taught) == len(held_out) == 3
        texts += taught + held_out
    forms = list(map(normal_form, texts))
    assert len(set(forms)) == len(forms) == 59 * 7
    assert all(text[0].isupper() and text.endswith(".") for text in texts)


def test_of_several_texts_the_first_is_the_tasks_own():
    tasks = MetaWorld(
        ("reach-v3", {"env": "push-v3", "text": ["Push it.", "Shove it."]}), phrasings=True
    ).make_tasks()
    assert tasks[0].texts == ("Reach a goal.", *phrasings("reach-v3"))
    assert tasks[1].text == "Push it."
    assert tasks[1].phrasings == ("Shove it.",)
    gym = Gymnasium(({"env": "Pendulum-v1", "text": ["Swing up.", "Stand up."]},)).make_tasks()
    assert gym[0].texts == ("Swing up.", "Stand up.")


@pytest.mark.parametrize("stream", [CW10, Point])
def test_streams_teach_the_shipped_phrasings_where_asked(stream):
    for plain, phrased in zip(stream().make_tasks(), stream(phrasings=True).make_tasks()):
        assert plain.texts == (phrased.text,) == phrased.texts[:1]
        assert phrased.phrasings == phrasings(phrased.env)


def test_phrasings_are_part_of_the_protocol():
    def stamp(text):
        return MetaWorld(({"env": "push-v3", "text": text},)).protocol()["texts"]

    assert stamp("Push it.") == stamp(["Push it."]) != stamp(["Push it.", "Shove it."])


def test_a_recipe_keeps_the_phrasings():
    recipe = loads(
        "stream: {name: metaworld, tasks: [{env: push-v3, text: [Push it., Shove it.]}]}"
    )
    assert loads(dump(recipe)) == recipe
    assert recipe.stream.make_tasks()[0].texts == ("Push it.", "Shove it.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ([], r"expected words, got \(\); say what"),
        (["Push it.", " "], "expected a text that describes the task, got ' ' as text 1; write"),
        ("...", r"expected a text that describes the task, got '\.\.\.' as text 0; write"),
        ("push " * 300, "expected at most 1,000 characters, got 1,500 as text 0"),
        ("push \udcff", "expected text in Unicode"),
    ],
)
@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda text: MetaWorld(({"env": "push-v3", "text": text},)), "MetaWorld.tasks[0]"),
        (lambda text: Point(("left", {"env": "right", "text": text})), "Point.goals[1]"),
        (lambda text: Gymnasium(({"env": "A-v0", "text": text},)), "Gymnasium.tasks[0]"),
    ],
    ids=["metaworld", "point", "gymnasium"],
)
def test_every_list_of_tasks_wants_texts_that_say_something(make, place, text, told):
    with pytest.raises(RecipeError, match=rf"{re.escape(place)}\.text: {told}"):
        make(text)


def test_texts_that_encoders_read_alike_count_once():
    (task,) = Point(({"env": "right", "text": ["Go.", "Move!", " go", "GO ?"]},)).make_tasks()
    assert task.texts == ("Go.", "Move!")


def test_a_sentence_of_two_tasks_in_different_environments_is_told():
    entries = {"env": "left", "text": ["Go left", "go RIGHT!!"]}, {"env": "top", "text": "Go up."}
    tasks = Point(({"env": "right", "text": "Go right."}, *entries)).make_tasks()
    told = (
        r"^tasks 'right' and 'left' are taught one sentence, .*: text 0 of the former is "
        r"'Go right\.', text 1 of the latter 'go RIGHT!!', .*; leave it out of one"
    )
    with pytest.warns(UserWarning, match=told):
        check_told_apart(tasks, torch.eye(3))
    check_told_apart(tasks[1:], torch.eye(2))
    again = Point(("right", "left", "right"), phrasings=True).make_tasks()
    check_told_apart(again, torch.eye(3))  # one environment's texts may come twice
