"""Recall policies: which remembered task, if any, a sentence means.

A sentence that was taught leads to its task's mask by the lasso alone.  Any other leads to a mask
of its own, which shares a part with that of the task it means; a recall policy may take the task's
instead, if it is sure enough which it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from cotasp.errors import RecipeError
from cotasp.prompting.encoders import Encoder
from cotasp.prompting.texts import normal_form, words

if TYPE_CHECKING:
    from torch import Tensor

Verdict = Literal["known", "paraphrase", "ambiguous", "new"]
_SMOOTHING = 0.1  # added to shares of texts that hold a word


class Recall(NamedTuple):
    """What a recall policy says of a sentence.

    Args:
        verdict: `"known"`: it was taught; `"paraphrase"`: it means the task; `"ambiguous"`: it may
            mean one of several; `"new"`: none.
        task: the place of the task whose mask is taken; None: that of the lasso.
        scores: similarity to each task.
    """

    verdict: Verdict
    task: int | None
    scores: tuple[float, ...]


class RecallPolicy(Protocol):
    """Says which remembered task a sentence means."""

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        """The task that a sentence means.

        Args:
            text: the sentence.
            tasks: all texts that each remembered task was taught; at least one task.
            encoder: of the run, prepared for these texts.
        """
        ...


@dataclass(frozen=True)
class Exact:
    """The lasso alone: only what was taught is recalled for sure."""

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        scores = [float(row.max()) for row in similarities(text, tasks, encoder)]
        task = taught_as(text, tasks)
        return Recall("new" if task is None else "known", task, tuple(scores))


@dataclass(frozen=True)
class Nearest:
    """The task with the most similar taught text, above a threshold.

    It takes "Open the window." for "Close the window." where only the latter is known, and cannot
    say when two tasks are equally near.

    Args:
        threshold: least cosine, in (0, 1].
    """

    threshold: float = 0.8

    def __post_init__(self) -> None:
        _check_share(self, "threshold")

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        scores = [float(row.max()) for row in similarities(text, tasks, encoder)]
        return _decide(text, tasks, scores, self.threshold, 0.0)


@dataclass(frozen=True)
class Margin:
    """The task that is most similar on average over its taught texts, if well before the second.

    To sentence embeddings "open" and "close" are nearly the same, so the words have a say: the
    similarity is the mean cosine plus `words` times the sum, over the sentence's words w, of
    ln (p_tw + 0.1) / (p_w + 0.1), where p_tw is the share of task t's taught texts that hold w and
    p_w its mean over tasks (naive Bayes, smoothed).

    Args:
        threshold: least mean cosine, in (0, 1].
        margin: least distance to the second task, in [0, 1].
        words: weight of the words, in [0, 1].
    """

    threshold: float = 0.4
    margin: float = 0.04
    words: float = 0.03

    def __post_init__(self) -> None:
        _check_share(self, "threshold")
        for name in ("margin", "words"):
            _check_share(self, name, 0.0)

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        cosines = [float(row.mean()) for row in similarities(text, tasks, encoder)]
        scores = [a + self.words * b for a, b in zip(cosines, word_evidence(text, tasks))]
        recall = _decide(text, tasks, scores, -math.inf, self.margin)
        if recall.verdict != "known" and max(cosines) < self.threshold:
            return Recall("new", None, tuple(scores))
        return recall


def word_evidence(text: str, tasks: Sequence[Sequence[str]]) -> list[float]:
    """For each task, how much likelier its taught texts make a sentence's words; see `Margin`."""
    held = [[set(words(normal_form(each))) for each in texts] for texts in tasks]
    evidence = [0.0] * len(tasks)
    for word in set(words(normal_form(text))):
        shares = [sum(word in each for each in texts) / len(texts) for texts in held]
        mean = sum(shares) / len(shares)
        for task, share in enumerate(shares):
            evidence[task] += math.log((share + _SMOOTHING) / (mean + _SMOOTHING))
    return evidence


def similarities(text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> list[Tensor]:
    """Cosines of a sentence with all texts of each task."""
    rows = encoder([text, *(each for texts in tasks for each in texts)]).double()
    return list((rows[1:] @ rows[0]).split([len(texts) for texts in tasks]))


def taught_as(text: str, tasks: Sequence[Sequence[str]]) -> int | None:
    """The first task that was taught this very text, up to its normal form."""
    form = normal_form(text)
    return next((i for i, texts in enumerate(tasks) if form in map(normal_form, texts)), None)


def _decide(
    text: str,
    tasks: Sequence[Sequence[str]],
    scores: Sequence[float],
    threshold: float,
    margin: float,
) -> Recall:
    known = taught_as(text, tasks)
    if known is not None:
        return Recall("known", known, tuple(scores))
    best, *others = sorted(range(len(scores)), key=lambda i: -scores[i])
    if scores[best] < threshold:
        return Recall("new", None, tuple(scores))
    if others and scores[best] - scores[others[0]] < margin:
        return Recall("ambiguous", None, tuple(scores))
    return Recall("paraphrase", best, tuple(scores))


def _check_share(policy: object, name: str, least: float = 1e-9) -> None:
    value = getattr(policy, name)
    if not least <= value <= 1:
        low = "(0" if least else "[0"
        raise RecipeError(f"{type(policy).__name__}.{name}: expected in {low}, 1], got {value}")
