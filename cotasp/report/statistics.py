"""Point estimates as in rliable (Agarwal et al. 2021, arXiv 2108.13264), with bootstrap intervals.

Scores are [seeds, tasks].  A resample draws whole seeds, as many as there are, with replacement;
an interval is the 2.5 and 97.5 percentile of the statistic over the resamples.  rliable draws the
seeds of each task on its own (a stratified bootstrap), as if tasks were independent: the tasks of
a continual run share one network, and intervals made that way would be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
REPETITIONS = 5000
CONFIDENCE = 0.95
_CHUNK = 2_000_000  # resampled scores held at once
ROUNDING = 1e-9  # by which equal scores may differ: means of the same numbers in another order


class Estimate(NamedTuple):
    """A statistic and its interval; None where there is none.

    Args:
        value: of the scores as they are.
        low, high: ends of the interval; None with fewer than two seeds.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and `value` lies outside it, by more than sums round."""
        if self.low is None or self.high is None:
            return False
        slack = ROUNDING * max(1.0, abs(value), abs(self.low), abs(self.high))
        return not self.low - slack <= value <= self.high + slack


def mean(scores: Scores) -> Scores:
    """Mean over the last two axes, [..., seeds, tasks] to [...]."""
    return scores.mean((-2, -1))


def interquartile_mean(scores: Scores) -> Scores:
    """Mean of what a quarter cut off at both ends leaves, over seeds and tasks together.

    Args:
        scores: [..., seeds, tasks].

    Returns:
        [...].
    """
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(-1)


def estimate(
    scores: Scores, statistic: Callable[[Scores], Scores], repetitions: int = REPETITIONS
) -> Estimate:
    """A statistic with its bootstrap 95 % interval; the same scores, the same interval.

    Args:
        scores: [seeds, tasks]; tasks where a seed has no value (NaN) are left out.
        statistic: from [..., seeds, tasks] to [...].
        repetitions: resamples.
    """
    scores = scores[:, ~np.isnan(scores).any(0)]
    if not scores.size:
        return Estimate(None)
    value = float(statistic(scores))
    seeds = len(scores)
    if seeds < 2:
        return Estimate(value)
    random = np.random.default_rng(0)
    replicates = []
    for start in range(0, repetitions, max(1, _CHUNK // scores.size)):
        count = min(max(1, _CHUNK // scores.size), repetitions - start)
        drawn = random.integers(seeds, size=(count, seeds))
        replicates.append(statistic(scores[drawn]))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(replicates), [tail, 100 - tail])
    return Estimate(value, float(low), float(high))


def improvement(ours: Scores, theirs: Scores, repetitions: int = REPETITIONS) -> Estimate:
    """Probability of improvement P(X > Y) + P(X = Y) / 2, paired by seed, averaged over tasks.

    Scores that differ by what sums round are equal.

    Args:
        ours, theirs: [seeds, tasks], row by row of the same seeds; larger is better.
        repetitions: resamples of the seeds.
    """
    equal = np.isclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)
    won = np.where(equal, 0.5, 0.5 + 0.5 * np.sign(ours - theirs))
    return estimate(won, mean, repetitions)
