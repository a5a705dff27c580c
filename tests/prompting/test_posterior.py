"""The default recall policy: its formula by hand, and what it must not mistake."""

from __future__ import annotations

import math

import pytest
import torch

from cotasp.errors import RecipeError
from cotasp.prompting.encoders import SBERT, OneHot
from cotasp.prompting.posterior import Posterior, contrasts, with_stems
from cotasp.prompting.texts import normal_form
from cotasp.tasks.texts import CW10, GOALS, TEXTS, phrasings


def taught(*names):
    return [(TEXTS[name], *phrasings(name)) for name in names]


def test_opposites_by_sentences_that_nobody_was_taught():
    """A few of those that the cosine alone takes for their opposite; figures: benchmarks."""
    tasks = taught("faucet-open-v3", "faucet-close-v3", "window-open-v3", "window-close-v3")
    for text, place in (
        ("Shut off the water faucet.", 1),
        ("Make sure the window is open.", 2),
        ("Push the window shut.", 3),
    ):
        recall = Posterior()(text, tasks, SBERT())
        assert (recall.verdict, recall.task) == ("paraphrase", place)
        assert recall.scores[place] == max(recall.scores) > 0.3


@pytest.mark.parametrize(
    "text", ["Open the window.", "Push the window open.", "Slide the window all the way open."]
)
def test_the_opposite_of_all_that_is_known_is_new(text):
    tasks = taught("window-close-v3", "door-close-v3", "drawer-close-v3")
    assert Posterior()(text, tasks, SBERT())[:2] == ("new", None)
    assert Posterior()("Close that window.", tasks, SBERT())[:2] == ("paraphrase", 0)


def test_a_shipped_text_of_a_task_that_is_not_known_is_new():
    recall = Posterior()(TEXTS["faucet-open-v3"], taught(*CW10), SBERT())
    assert recall.verdict == "new"


def test_shipped_phrasings_of_a_task_that_was_taught_its_text_alone_speak_for_it():
    tasks = [(TEXTS[name],) for name in CW10]
    for place, name in enumerate(CW10):
        for text in phrasings(name):
            recall = Posterior()(text, tasks, SBERT())
            assert (recall.verdict, recall.task) == ("paraphrase", place)


def test_sentences_about_other_things_are_new():
    for text in ("Peel the banana.", "Play a melody on the piano.", "Feed the cat."):
        assert Posterior()(text, taught(*CW10), SBERT()).verdict == "new"


def test_the_probabilities_are_the_formula():
    """By hand, from the evidence: two tasks known, one other."""
    tasks, encoder = taught("window-close-v3", "door-open-v3"), SBERT()
    policy = Posterior(others=0.5, corpus=(tuple(taught("window-open-v3")[0]),))
    text = "Shut that window, would you."
    recall = policy(text, tasks, encoder)
    c, b, v = policy.evidence(text, [*tasks, *policy.corpus], encoder)
    weights = [
        prior * math.exp(24 * float(c[i]) + 6 * float(b[i]) + 1.5 * float(v[i]))
        for i, prior in enumerate((1.0, 1.0, 0.5))
    ]
    familiar = 1 / (1 + math.exp(7.2 - 3.9 * float(c[0]) - 7.5 * float(b[0])))
    expected = [familiar * weight / sum(weights) for weight in weights[:2]]
    assert recall.scores == pytest.approx(expected, rel=1e-9)
    rows = encoder([text, *tasks[0]]).double()
    assert float(b[0]) == pytest.approx(float((rows[1:] @ rows[0]).max()), abs=1e-12)
    stems = [{"push", "and", "clos", "the", "wind"}, {"clos", "the", "wind"}]
    stems += [{"shut", "the", "wind"}, {"slid", "the", "wind", "clos"}]
    said = {"shut", "that", "wind", "woul", "you"}
    by_hand = sum(math.log(sum(stem in each for each in stems) / 4 + 0.1) for stem in said)
    assert float(v[0]) == pytest.approx(by_hand, abs=1e-12)


def test_a_joined_vector_is_embedding_and_stems_side_by_side():
    joined = with_stems(SBERT(), ["Close it.", "Open it."])
    rows = joined(["Close it.", "Closing.", "Nothing of these."])
    embeddings = SBERT()(["Close it.", "Closing.", "Nothing of these."]).double()
    torch.testing.assert_close(rows[:, :384], embeddings * 0.6**0.5)
    idf = torch.tensor([1 + math.log(3 / 2), 1.0], dtype=torch.float64)  # "clos", "it"
    torch.testing.assert_close(rows[0, 384:386], idf / idf.norm() * 0.4**0.5)
    assert rows[1, 384:].tolist() == [pytest.approx(0.4**0.5), 0.0, 0.0]
    assert rows[2, 384:].tolist() == [0.0, 0.0, 0.0]


def test_contrasts_are_about_other_things_than_the_tasks():
    ways = contrasts()
    texts = [normal_form(text) for way in ways for text in way]
    known = [*TEXTS.values(), *(text for *_, text in GOALS.values())]
    known += [text for name in (*TEXTS, *GOALS) for text in phrasings(name)]
    known += [text for name in (*TEXTS, *GOALS) for text in phrasings(name, "held_out")]
    assert set(texts).isdisjoint(map(normal_form, known))
    assert all(len(set(way)) == len(way) >= 6 for way in ways)
    assert "close the gate." in texts


def test_without_others_only_tasks_of_the_run_are_meant():
    tasks = taught("window-close-v3", "door-close-v3")
    text = TEXTS["drawer-close-v3"]
    assert Posterior(familiar=0.0)(text, tasks, SBERT()).verdict == "new"
    alone = Posterior(others=0.0, familiar=0.0)
    assert alone.candidates(tasks, SBERT())[1] == []
    assert alone(text, tasks, SBERT()).verdict in ("paraphrase", "ambiguous")


@pytest.mark.parametrize("dim", [6, 384])
def test_an_encoder_without_room_for_the_shipped_texts_does_with_its_own(dim):
    tasks = taught("window-close-v3")
    encoder = OneHot(dim).prepare(list(tasks[0]))
    assert Posterior()(TEXTS["window-close-v3"], tasks, encoder)[:2] == ("known", 0)
    assert Posterior()("Peel the banana.", tasks, encoder).verdict == "new"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Posterior(0.0), r"Posterior.confidence: expected in \(0, 1\], got 0.0"),
        (lambda: Posterior(others=2), r"Posterior.others: expected in \[0, 1\], got 2"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
