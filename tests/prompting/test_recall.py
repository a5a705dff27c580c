"""The recall policies' contract over every registered name, and what each adds."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.prompting.encoders import SBERT
from cotasp.prompting.recall import Exact, Margin, Nearest
from cotasp.registry import KINDS
from cotasp.tasks.texts import TEXTS, phrasings

NAMES = KINDS["recall"].names()
TASKS = ("window-close-v3", "window-open-v3", "hammer-v3")
TAUGHT = [(TEXTS[name], *phrasings(name)) for name in TASKS]


class Written:
    """An encoder with given vectors in the plane."""

    dim = 2
    angles: dict[str, float]

    def __init__(self, **angles: float) -> None:
        self.angles = angles

    def prepare(self, texts):
        return self

    def __call__(self, texts):
        angle = torch.tensor([self.angles[text] for text in texts])
        return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_every_taught_text_is_known(name):
    policy = KINDS["recall"].make(name)
    for place, texts in enumerate(TAUGHT):
        for text in texts:
            recall = policy(f" {text.upper()[:-1]}", TAUGHT, SBERT())
            assert (recall.verdict, recall.task) == ("known", place)
            assert len(recall.scores) == len(TAUGHT)


@pytest.mark.parametrize("name", NAMES)
def test_another_text_has_a_task_exactly_if_it_is_a_paraphrase(name):
    policy = KINDS["recall"].make(name)
    for name in ("soccer-v3", "door-close-v3", "handle-press-v3"):
        recall = policy(TEXTS[name], TAUGHT, SBERT())
        assert recall.verdict in ("paraphrase", "ambiguous", "new")
        assert (recall.task is not None) == (recall.verdict == "paraphrase")


@pytest.mark.parametrize("name", NAMES)
def test_one_task_suffices(name):
    assert KINDS["recall"].make(name)("Swim.", [("Swim.",)], Written(**{"Swim.": 0.0})).task == 0


def test_verdicts_by_angle():
    encoder = Written(a=0.0, b=0.1, new=1.5, near=0.02, between=0.05)
    tasks = [("a",), ("b",)]
    margin = Margin(threshold=0.5, margin=0.001, words=0.0)
    assert margin("near", tasks, encoder)[:2] == ("paraphrase", 0)
    assert margin("between", tasks, encoder)[:2] == ("ambiguous", None)
    assert margin("new", tasks, encoder)[:2] == ("new", None)
    assert Nearest()("between", tasks, encoder).verdict == "paraphrase"  # it cannot say
    assert Nearest()("new", tasks, encoder).verdict == "new"
    assert Exact()("near", tasks, encoder)[:2] == ("new", None)


def test_words_tell_opposites_apart():
    tasks = [("close it",), ("open it",)]
    encoder = Written(**{"close it": 0.0, "open it": 0.0, "please open": 0.1})
    assert Margin(words=0.0)("please open", tasks, encoder).verdict == "ambiguous"
    assert Margin()("please open", tasks, encoder)[:2] == ("paraphrase", 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Nearest(0.0), r"Nearest.threshold: expected in \(0, 1\], got 0.0"),
        (lambda: Margin(words=1.5), r"Margin.words: expected in \[0, 1\], got 1.5"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
