"""The recall policies' contract over every registered name, and what each adds."""

from __future__ import annotations

import pytest
import torch

from cotasp.errors import PluginError, RecipeError
from cotasp.prompting.encoders import SBERT, OneHot
from cotasp.prompting.posterior import Posterior
from cotasp.prompting.recall import Exact, Margin, Nearest, normalised_space
from cotasp.registry import KINDS
from cotasp.tasks.texts import TEXTS, phrasings

NAMES = KINDS["recall"].names()
TASKS = ("window-close-v3", "window-open-v3", "hammer-v3")
TAUGHT = [(TEXTS[name], *phrasings(name)) for name in TASKS]


class Written:
    """An encoder with given vectors in the plane; all other texts point the same way."""

    dim = 2
    angles: dict[str, float]

    def __init__(self, **angles: float) -> None:
        self.angles = angles

    def prepare(self, texts):
        return self

    def __call__(self, texts):
        angle = torch.tensor([self.angles.get(text.rstrip("."), 2.0) for text in texts])
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
    assert KINDS["recall"].make(name)("Swim.", [("Swim.",)], Written(**{"Swim": 0.0})).task == 0


@pytest.mark.parametrize("name", NAMES)
def test_without_a_task_all_is_new(name):
    recall = KINDS["recall"].make(name)("Swim.", [], Written())
    assert recall == ("new", None, ())


class Long(Written):
    """Vectors of norm 2, whose products are no cosines."""

    def __call__(self, texts):
        return 2 * super().__call__(texts)


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_that_are_none_name_their_encoder(name):
    with pytest.raises(PluginError, match=r"^encoder Long .* rows of norm 1, got norm 2 for"):
        KINDS["recall"].make(name)("Swim.", [("Run.",)], Long())


def test_verdicts_by_angle():
    encoder = Written(a=0.0, b=0.2, c=3.14, new=1.5, near=0.02, between=0.1)
    tasks = [("a",), ("b",), ("c",)]
    margin = Margin(threshold=0.5, margin=0.005, words=0.0, corpus=())
    assert margin("near", tasks, encoder)[:2] == ("paraphrase", 0)
    assert margin("between", tasks, encoder)[:2] == ("ambiguous", None)
    assert margin("new", tasks, encoder)[:2] == ("new", None)
    assert Nearest()("between", tasks, encoder).verdict == "paraphrase"  # it cannot say
    assert Nearest(0.9)("new", tasks, encoder).verdict == "new"
    assert Exact()("near", tasks, encoder)[:2] == ("new", None)


def test_words_tell_opposites_apart():
    tasks = [("close it",), ("open it",), ("swim",)]
    encoder = Written(**{"close it": 0.0, "open it": 0.0, "please, opened": 0.1, "swim": 3.14})
    plain, with_words = Margin(words=0.0, corpus=()), Margin(corpus=())
    assert plain("please, opened", tasks, encoder).verdict == "ambiguous"
    assert with_words("please, opened", tasks, encoder)[:2] == ("paraphrase", 1)


def test_in_the_normalised_space_all_phrasings_of_a_task_vary_alike():
    """Up to the shrinkage: their covariance about the task's mean is a multiple of the identity."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64)
    noise = torch.randn(4000, 3, generator=generator, dtype=torch.float64) * spread
    rows = {
        f"{i} {j}": row
        for (i, j), row in zip(((i, j) for i in range(40) for j in range(100)), noise)
    }

    class Given:
        def __call__(self, texts):
            return torch.stack([rows[text] for text in texts])

    corpus = [[f"{i} {j}" for j in range(100)] for i in range(40)]
    space = normalised_space(corpus, Given(), 1e-6)
    # a sphere's directions are uniform: their second moments are equal
    directions = space(noise)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    moments = directions.mT @ directions / len(noise)
    torch.testing.assert_close(moments, torch.eye(3, dtype=torch.float64) / 3, atol=0.02, rtol=0)
    centred = normalised_space(corpus, Given(), 1.0)(noise)
    assert (centred.mT @ centred / len(noise))[0, 0] > 0.6  # along the widest


@pytest.mark.parametrize("dim", [6, 384])
def test_an_encoder_without_room_for_the_shipped_texts_does_with_its_own(dim):
    encoder = OneHot(dim).prepare([text for texts in TAUGHT[:1] for text in texts])
    recall = Margin()(TEXTS["window-close-v3"], TAUGHT[:1], encoder)
    assert (recall.verdict, recall.task) == ("known", 0)


def test_opposites_by_sentences_that_nobody_was_taught():
    """A few of those that the cosine alone takes for their opposite; figures: benchmarks."""
    for text, place in (("Make sure the window is open.", 1), ("Push the window shut.", 0)):
        recall = Margin()(text, TAUGHT, SBERT())
        assert (recall.verdict, recall.task) == ("paraphrase", place)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Nearest(0.0), r"Nearest.threshold: expected in \(0, 1\], got 0.0"),
        (lambda: Margin(words=1.5), r"Margin.words: expected in \[0, 1\], got 1.5"),
        (lambda: Margin(corpus=(("Go.",), ())), r"corpus\[1\]: expected a task's phrasings, got"),
        (lambda: Posterior(corpus=(("Go.", "?"),)), r"corpus\[0\]: expected a text .* got '\?'"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
