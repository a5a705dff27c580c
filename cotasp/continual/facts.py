"""What an opened run says of a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskFacts:
    """How a remembered task compares with a sentence.

    Args:
        name: of the task.
        text: its own.
        score: what the recall policy decides by: a probability under the default.
        similarity: cosine of the sentence's embedding with that of the task's nearest text.
        overlap: Jaccard index of the task's mask and that of the sentence's lasso.
    """

    name: str
    text: str
    score: float
    similarity: float
    overlap: float


@dataclass(frozen=True)
class LayerFacts:
    """What the policy that a sentence gets uses of a hidden layer.

    Args:
        width: neurons of the layer.
        active: of them, those that the policy uses.
        owned: of those, the ones that some finished task owns.
    """

    width: int
    active: int
    owned: int


@dataclass(frozen=True)
class PromptFacts:
    """What a run makes of a sentence.

    Args:
        text: the sentence.
        verdict: `"known"`, `"paraphrase"`, `"ambiguous"` or `"new"`, see `cotasp.prompting.recall`.
        task: the finished task whose policy it gets; None: one from its own lasso.
        nearest: finished tasks, the most similar first.
        layers: of the policy it gets.
    """

    text: str
    verdict: str
    task: str | None
    nearest: tuple[TaskFacts, ...]
    layers: tuple[LayerFacts, ...]
