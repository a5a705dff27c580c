"""Recall policies: which remembered task, if any, a sentence means.

A sentence that was taught leads to its task's mask by the lasso alone.  Any other leads to a mask
of its own, which shares a part with that of the task it means; a recall policy may take the task's
instead, if it is sure enough which it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from cotasp.checks import check_fields
from cotasp.errors import PluginError, RecipeError
from cotasp.prompting.encoders import Encoder, checked_embeddings
from cotasp.prompting.texts import checked_texts, normal_form
from cotasp.ranges import PositiveShare, Share

if TYPE_CHECKING:
    from torch import Tensor

Embed = Callable[[Sequence[str]], "Tensor"]
Verdict = Literal["known", "paraphrase", "ambiguous", "new"]
_SMOOTHING = 0.1  # added to shares of texts that hold a word
_STEM = 4  # letters


class Recall(NamedTuple):
    """What a recall policy says of a sentence.

    Args:
        verdict: `"known"`: it was taught; `"paraphrase"`: it means the task; `"ambiguous"`: it may
            mean one of several; `"new"`: none.
        task: the place of the task whose mask is taken; None: that of the lasso.
        scores: what it decides by, of each task; the higher, the likelier.
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
            tasks: all texts that each remembered task was taught; with none all is new.
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

    threshold: PositiveShare = 0.8

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        scores = [float(row.max()) for row in similarities(text, tasks, encoder)]
        return _decide(text, tasks, scores, self.threshold, 0.0)


@dataclass(frozen=True)
class Margin:
    """The task that is most similar on average over its taught texts, if well before the second.

    To sentence embeddings "open" and "close" are nearly the same: what differs most between the
    phrasings of one task says least about which task it is.  So embeddings are compared after
    within-class covariance normalisation (Hatch, Kajarekar & Stolcke, Interspeech 2006),

        z(e) = W^(-1/2) (e - mean),   W = (1 - a) S + a tr(S)/m I,

    where S is the covariance of embeddings about the mean of their own task, over the phrasings
    that come with this package and those of the run, and a is `shrinkage`.  The words have a say,
    too: the similarity is the mean cosine of z plus `words` times the sum, over the sentence's word
    stems w, of ln (p_tw + 0.1) / (p_w + 0.1), where p_tw is the share of task t's taught texts that
    hold w and p_w its mean over tasks (naive Bayes, smoothed); a stem is a word's first four
    letters.

    Args:
        threshold: least mean cosine of z, in (0, 1].
        margin: least distance to the second task, in [0, 1].
        words: weight of the words, in [0, 1].
        shrinkage: a, in (0, 1]; 1 only centres.
        corpus: phrasings of tasks, a list for each, from which S is estimated; None: those that
            come with this package.
    """

    threshold: PositiveShare = 0.35
    margin: Share = 0.02
    words: Share = 0.03
    shrinkage: PositiveShare = 0.3
    corpus: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_corpus(self.corpus)

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        if not tasks:
            return Recall("new", None, ())
        embed = partial(checked_embeddings, encoder)
        space = normalised_space(self._phrasings(tasks, encoder), embed, self.shrinkage)
        means = [float(row.mean()) for row in cosines(text, tasks, embed, space)]
        scores = [a + self.words * b for a, b in zip(means, word_evidence(text, tasks))]
        recall = _decide(text, tasks, scores, -math.inf, self.margin)
        if recall.verdict != "known" and max(means) < self.threshold:
            return Recall("new", None, tuple(scores))
        return recall

    def _phrasings(
        self, tasks: Sequence[Sequence[str]], encoder: Encoder
    ) -> Sequence[Sequence[str]]:
        from cotasp.tasks.texts import shipped_phrasings

        corpus = shipped_phrasings() if self.corpus is None else self.corpus
        if not takes(encoder, corpus):
            return tasks
        return list(dict.fromkeys(tuple(map(normal_form, texts)) for texts in (*corpus, *tasks)))


def check_corpus(corpus: Sequence[Sequence[str]] | None) -> None:
    """Raises RecipeError unless each task of a corpus has phrasings that an encoder takes."""
    for number, texts in enumerate(corpus or ()):
        where = f"corpus[{number}]"
        if not texts:
            raise RecipeError(f"{where}: expected a task's phrasings, got none; leave it out")
        checked_texts(where, texts)


def takes(encoder: Encoder, corpus: Sequence[Sequence[str]]) -> bool:
    """Whether an encoder has room for texts that are none of the run's.

    Raises:
        PluginError: what it gives is no embeddings.
    """
    try:
        checked_embeddings(encoder, [text for texts in corpus for text in texts])
    except PluginError:
        raise
    except RecipeError:
        return False
    return True


def normalised_space(
    corpus: Sequence[Sequence[str]], embed: Embed, shrinkage: float
) -> Callable[[Tensor], Tensor]:
    """z of `Margin`, from embeddings [n, m] float64 to [n, m] of unit norm.

    Args:
        corpus: phrasings of tasks; where no task has two, embeddings are only centred.
        embed: texts to vectors [n, m].
        shrinkage: a of `Margin`.
    """
    import torch

    groups = [list(dict.fromkeys(texts)) for texts in corpus]
    rows = embed([text for texts in groups for text in texts]).double()
    mean, parts = rows.mean(0), rows.split([len(texts) for texts in groups])
    within = torch.cat([part - part.mean(0) for part in parts])
    covariance = within.mT @ within / len(rows)
    level, eye = covariance.trace() / len(mean), torch.eye(len(mean), dtype=torch.float64)
    if level > 0:
        eye = torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * level * eye)

    def space(embeddings: Tensor) -> Tensor:
        z = torch.linalg.solve_triangular(eye, (embeddings - mean).mT, upper=False).mT
        return torch.nn.functional.normalize(z, dim=-1)

    return space


def word_evidence(text: str, tasks: Sequence[Sequence[str]]) -> list[float]:
    """For each task, how much likelier its taught texts make a sentence's words; see `Margin`."""
    held = [[stems(each) for each in texts] for texts in tasks]
    evidence = [0.0] * len(tasks)
    for stem in sorted(stems(text)):
        shares = [sum(stem in each for each in texts) / len(texts) for texts in held]
        mean = sum(shares) / len(shares)
        for task, share in enumerate(shares):
            evidence[task] += math.log((share + _SMOOTHING) / (mean + _SMOOTHING))
    return evidence


def stems(text: str) -> set[str]:
    """The first four letters of each word: "close", "closed" and "closing" are alike.

    >>> sorted(stems("Turn it counter-clockwise, until closed."))
    ['clos', 'coun', 'it', 'turn', 'unti']
    """
    return {word[:_STEM] for word in re.findall(r"\w+(?:-\w+)*", normal_form(text))}


def similarities(text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> list[Tensor]:
    """Cosines of a sentence's embedding with those of all texts of each task."""
    return cosines(text, tasks, partial(checked_embeddings, encoder), lambda rows: rows)


def cosines(
    text: str, tasks: Sequence[Sequence[str]], embed: Embed, space: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Cosines of a sentence with all texts of each task, in a space of unit vectors.

    Args:
        text: the sentence.
        tasks: their texts.
        embed: texts to vectors [n, m].
        space: these, in float64, to unit vectors.
    """
    rows = space(embed([text, *(each for texts in tasks for each in texts)]).double())
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
    if not scores:
        return Recall("new", None, ())
    best, *others = sorted(range(len(scores)), key=lambda i: -scores[i])
    if scores[best] < threshold:
        return Recall("new", None, tuple(scores))
    if others and scores[best] - scores[others[0]] < margin:
        return Recall("ambiguous", None, tuple(scores))
    return Recall("paraphrase", best, tuple(scores))
