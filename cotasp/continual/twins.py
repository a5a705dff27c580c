"""Tasks whose texts an encoder cannot tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from cotasp.tasks.sentences import normal_form
from cotasp.tasks.task import Task

SAME = 0.999  # cosine from which two embeddings give one prompt


def check_told_apart(tasks: Sequence[Task], embeddings: Tensor) -> None:
    """Warns of tasks in different environments whose embeddings are (nearly) equal, or that are
    taught one sentence.

    Args:
        tasks: of a stream.
        embeddings: of their texts, [n, m], unit rows.
    """
    cosines = (embeddings @ embeddings.T).tolist()
    for i, task in enumerate(tasks):
        for j, before in enumerate(tasks[:i]):
            if before.env != task.env and cosines[i][j] > SAME:
                warnings.warn(
                    f"tasks {before.name!r} and {task.name!r} are told apart by nothing: the "
                    f"cosine of their texts' embeddings is {cosines[i][j]:.4f}, so they get one "
                    f"sub-network; say in the texts in what they differ",
                    stacklevel=2,
                )
                return
    _check_phrasings(tasks)


def _check_phrasings(tasks: Sequence[Task]) -> None:
    """Warns of a text of two tasks in different environments, as encoders read it."""
    first: dict[str, tuple[Task, int]] = {}
    for task in tasks:
        for place, text in enumerate(task.texts):
            before, where = first.setdefault(normal_form(text), (task, place))
            if before.env != task.env:
                warnings.warn(
                    f"tasks {before.name!r} and {task.name!r} are taught one sentence, which gets "
                    f"one sub-network: text {where} of the former is {before.texts[where]!r:.80}, "
                    f"text {place} of the latter {text!r:.80}, and encoders read no difference; "
                    f"leave it out of one of them",
                    stacklevel=3,
                )
                return
