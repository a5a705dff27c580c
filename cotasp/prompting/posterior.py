"""The default recall policy: how likely a sentence means each remembered task."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from cotasp.checks import check_fields
from cotasp.prompting.encoders import Encoder, checked_embeddings
from cotasp.prompting.recall import (
    Embed,
    Recall,
    check_corpus,
    cosines,
    normalised_space,
    similarities,
    stems,
    takes,
    taught_as,
)
from cotasp.prompting.texts import normal_form
from cotasp.ranges import PositiveShare, Share

if TYPE_CHECKING:
    from torch import Tensor

_SMOOTHING = 0.1  # added to shares of texts that hold a word
_WORDS = 0.4  # share of the stems in the squared length of a joined vector


class Evidence(NamedTuple):
    """What speaks for each task that a sentence may mean, [tasks] each.

    Args:
        normalised: mean cosine with the task's texts, after normalisation.
        plain: largest cosine of embeddings.
        words: sum over the sentence's stems of ln(share of the task's texts that hold it + 0.1).
    """

    normalised: Tensor
    plain: Tensor
    words: Tensor


@dataclass(frozen=True)
class Posterior:
    r"""The likeliest task, if the sentence is familiar and the task likely enough.

    To sentence embeddings "open" and "close" are nearly the same: what differs most between the
    phrasings of one task says least about which task it is.  So a sentence is the joined vector of
    its embedding and its word stems (TF-IDF), compared after within-class covariance normalisation
    (Hatch, Kajarekar & Stolcke, Interspeech 2006),

        z(x) = W^(-1/2) (x - mean),   W = (1 - a) S + a tr(S)/m I,

    where S is the covariance of phrasings about the mean of their own task, over the texts of the
    run, the phrasings of tasks that come with this package, and its contrasts: opposite requests
    about other things, by which "shut" and "close" are known for the same and "open" for another.
    With c the mean cosine of z with a task's texts, b the largest cosine of embeddings and v the
    sum over the sentence's stems w of ln(p_tw + 0.1), p_tw the share of task t's texts with w,

        P(t | sentence) ~ prior_t exp(24 c + 6 b + 1.5 v),
        P(familiar) = 1 / (1 + exp(7.2 - 3.9 c - 7.5 b))   for the likeliest t.

    The tasks that come with this package and that the run has not learned are candidates, too, with
    a small prior: who knows only how to close the window is not to close it when told to open it.
    Where the run has a text of one of them, it is that task, and its phrasings speak for it.
    The numbers are a conditional logit's and a logistic regression's, by maximum likelihood on the
    default encoder's embeddings (benchmarks/sentences_fit.py).  A score that it reports is
    P(familiar) P(t | sentence), and 1 for a text that was taught.

    Args:
        confidence: least P(t | sentence), in (0, 1].
        familiar: least P(familiar), in [0, 1].
        others: prior of each task that the run does not know beside one that it does, in [0, 1].
            A run that teaches one of Meta-World's tasks under texts that are nothing like the
            shipped ones sets 0.
        shrinkage: a, in (0, 1].
        corpus: phrasings of tasks, a list for each, that S is estimated from and that are the other
            tasks; None: those that come with this package.
    """

    confidence: PositiveShare = 0.6
    familiar: Share = 0.3
    others: Share = 0.02
    shrinkage: PositiveShare = 0.1
    corpus: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_corpus(self.corpus)

    def __call__(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Recall:
        if not tasks:
            return Recall("new", None, ())
        known, (named, others) = taught_as(text, tasks), self.candidates(tasks, encoder)
        evidence = self.evidence(text, [*named, *others], encoder)
        logits = 24 * evidence.normalised + 6 * evidence.plain + 1.5 * evidence.words
        logits[len(tasks) :] += math.log(self.others) if others else 0.0
        likely = logits.softmax(0)[: len(tasks)]
        best = int(likely.argmax())
        familiar = float(
            (3.9 * evidence.normalised[best] + 7.5 * evidence.plain[best] - 7.2).sigmoid()
        )
        scores = (familiar * likely).tolist()
        if known is not None:
            scores[known] = 1.0
            return Recall("known", known, tuple(scores))
        stranger = taught_as(text, others) is not None or int(logits.argmax()) >= len(tasks)
        if stranger or familiar < self.familiar:
            return Recall("new", None, tuple(scores))
        if float(likely[best]) < self.confidence:
            return Recall("ambiguous", None, tuple(scores))
        return Recall("paraphrase", best, tuple(scores))

    def candidates(
        self, tasks: Sequence[Sequence[str]], encoder: Encoder
    ) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        """The run's tasks, with what else the corpus calls those that it has, and its others."""
        from cotasp.tasks.texts import shipped_phrasings

        corpus = shipped_phrasings() if self.corpus is None else self.corpus
        if not takes(encoder, corpus):
            return [tuple(texts) for texts in tasks], []
        named, others = [dict.fromkeys(map(normal_form, texts)) for texts in tasks], []
        for texts in corpus:
            forms = dict.fromkeys(map(normal_form, texts))
            same = [each for each in named if not forms.keys().isdisjoint(each)]
            for each in same:
                each.update(forms)
            if not same:
                others.append(tuple(forms))
        return [tuple(each) for each in named], others if self.others else []

    def evidence(self, text: str, tasks: Sequence[Sequence[str]], encoder: Encoder) -> Evidence:
        """What speaks for each of the tasks.

        Args:
            text: the sentence.
            tasks: their texts; the run's and the others.
            encoder: of the texts.
        """
        import torch

        corpus = tuple(map(tuple, tasks))
        try:
            joined, space = _joined_space(corpus, cast(Hashable, encoder), self.shrinkage)
        except TypeError:  # its fields cannot be hashed
            joined, space = _joined_space.__wrapped__(corpus, encoder, self.shrinkage)
        near = cosines(text, tasks, joined, space)
        plain = similarities(text, tasks, encoder)
        said = stems(text)
        words = [
            sum(
                math.log(sum(stem in each for each in held) / len(held) + _SMOOTHING)
                for stem in sorted(said)
            )
            for held in ([stems(each) for each in texts] for texts in tasks)
        ]
        return Evidence(
            torch.stack([row.mean() for row in near]),
            torch.stack([row.max() for row in plain]),
            torch.tensor(words, dtype=torch.float64),
        )


@lru_cache(maxsize=2)
def _joined_space(
    tasks: tuple[tuple[str, ...], ...], encoder: Encoder, shrinkage: float
) -> tuple[Embed, Callable[[Tensor], Tensor]]:
    """Texts to joined vectors, and these to z of `Posterior`."""
    corpus = [*tasks, *contrasts()] if takes(encoder, contrasts()) else list(tasks)
    joined = with_stems(encoder, [each for texts in corpus for each in texts])
    return joined, normalised_space(corpus, joined, shrinkage)


def with_stems(encoder: Encoder, corpus: Sequence[str]) -> Embed:
    """Texts to their embedding and the TF-IDF of their stems, side by side, [n, m] float64.

    Args:
        encoder: of the embeddings.
        corpus: texts whose stems have a dimension each; others count for nothing.
    """
    import torch

    counts = Counter(stem for text in corpus for stem in stems(text))
    places = {stem: place for place, stem in enumerate(sorted(counts))}
    weights = {stem: 1 + math.log((1 + len(corpus)) / (1 + n)) for stem, n in counts.items()}

    def joined(texts: Sequence[str]) -> Tensor:
        held = torch.zeros(len(texts), len(places), dtype=torch.float64)
        for row, text in zip(held, texts):
            for stem in stems(text) & places.keys():
                row[places[stem]] = weights[stem]
        held = torch.nn.functional.normalize(held, dim=-1)
        rows = checked_embeddings(encoder, texts).double()
        return torch.cat([rows * (1 - _WORDS) ** 0.5, held * _WORDS**0.5], dim=-1)

    return joined


@lru_cache(maxsize=1)
def contrasts() -> tuple[tuple[str, ...], ...]:
    """Phrasings of opposite requests about things of everyday life, of prompting/data."""
    path = Path(__file__).parent / "data" / "contrasts.json"
    return tuple(
        tuple(text.replace("*", thing) for text in texts)
        for family in json.loads(path.read_text(encoding="utf-8"))
        for thing in family["things"]
        for texts in family["ways"].values()
    )
