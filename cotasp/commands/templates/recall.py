"""A recall policy: the task whose words a sentence shares."""

import re
from dataclasses import dataclass

from cotasp.prompting import Recall, taught_as


@dataclass(frozen=True)
class Example:
    """The task with the largest share of words in common (Jaccard index of the two sets).

    Args:
        threshold: least share, in (0, 1].
    """

    threshold: float = 0.6

    def __call__(self, text, tasks, encoder):
        words = set(re.findall(r"\w+", text.lower()))
        shares = []
        for texts in tasks:
            each = [set(re.findall(r"\w+", taught.lower())) for taught in texts]
            shares.append(max(len(words & other) / len(words | other) for other in each))
        taught = taught_as(text, tasks)
        if taught is not None:
            return Recall("known", taught, tuple(shares))
        best = max(range(len(tasks)), key=lambda task: shares[task])
        if shares[best] < self.threshold:
            return Recall("new", None, tuple(shares))
        if shares.count(shares[best]) > 1:
            return Recall("ambiguous", None, tuple(shares))
        return Recall("paraphrase", best, tuple(shares))
