"""A run opened: a sentence in, a policy out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cotasp.agents.acting import ActingPolicy, on_cpu
from cotasp.continual.saved import load_run
from cotasp.dictionaries.diagnostics import jaccard
from cotasp.errors import RecipeError, RunError, calling
from cotasp.modules.subnetwork import active_units, extract
from cotasp.prompting.encoders import Encoder
from cotasp.prompting.recall import Margin, Recall, RecallPolicy
from cotasp.recipe import Recipe
from cotasp.registry import suggest
from cotasp.tasks.task import Task

if TYPE_CHECKING:
    from tensordict.nn import TensorDictModule
    from torch import Tensor

    from cotasp.agents.off_policy import OffPolicyLearner


@dataclass(frozen=True)
class TaskFacts:
    """How a remembered task compares with a sentence.

    Args:
        name: of the task.
        text: its own.
        similarity: what the recall policy compares, 1 for the same text.
        overlap: Jaccard index of the task's mask and that of the sentence's lasso.
    """

    name: str
    text: str
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


class OpenedRun:
    """The policies of a run's last checkpoint, by task or by sentence.

    Args:
        path: run directory.
        recall: which finished task a sentence means, see `cotasp.prompting.recall`.

    Raises:
        RunError: no run directory, no checkpoint, or one that does not fit the recipe.
    """

    recipe: Recipe
    tasks: tuple[Task, ...]

    def __init__(self, path: str | Path, recall: RecallPolicy | None = None) -> None:
        self.path = Path(path)
        self.recall = Margin() if recall is None else recall
        self.recipe, self.tasks, learner = load_run(path)
        self._learner = cast("OffPolicyLearner", learner)
        texts = [task.text for task in self.tasks]
        phrasings = [text for task in self.tasks for text in task.phrasings]
        with calling("encoder", self.recipe.encoder):
            self.encoder: Encoder = self.recipe.encoder.prepare([*texts, *phrasings])

    @property
    def finished(self) -> list[int]:
        """Places in `tasks` of those that have been learned."""
        return self._learner.actor.ownership.finished.nonzero().flatten().tolist()

    def prompt(self, text: str) -> PromptFacts:
        """What the run makes of a sentence.

        Raises:
            RecipeError: a text that no encoder takes, or needs a model that is not to be had.
            RunError: the run has finished no task.
        """
        recall, lasso, mask = self._read(text)
        learner, finished = self._learner, self.finished
        overlaps = jaccard(learner.actor.ownership.masks[finished], lasso > 0).tolist()
        rows = [
            TaskFacts(self.tasks[i].name, self.tasks[i].text, similarity, overlap)
            for i, similarity, overlap in zip(finished, recall.scores, overlaps)
        ]
        hidden = learner.actor.meta_policy.hidden
        layers = zip(hidden, (mask > 0).split(hidden), learner.actor.ownership.owned.split(hidden))
        return PromptFacts(
            text,
            recall.verdict,
            None if recall.task is None else self.tasks[finished[recall.task]].name,
            tuple(sorted(rows, key=lambda row: -row.similarity)),
            tuple(LayerFacts(k, int(on.sum()), int((on & own).sum())) for k, on, own in layers),
        )

    def policy(self, text: str | None = None, *, task: str | None = None) -> TensorDictModule:
        """A policy, `observation` to `action`, deterministic or sampled by TorchRL's exploration
        type, on the CPU.

        Args:
            text: a sentence; it gets the policy that `prompt` says.
            task: or the name of a task.

        Raises:
            RecipeError: neither or both, no such task, or a text that no encoder takes.
            RunError: the run has finished no task, or a layer would have no neuron.
        """
        from tensordict.nn import TensorDictModule

        if (text is None) == (task is None):
            raise RecipeError("policy: expected a text or task=, one of the two")
        if task is not None:
            names = [each.name for each in self.tasks]
            if task not in names:
                raise RecipeError(f"policy: unknown task {task!r}. {suggest(task, names)}")
            return cast("TensorDictModule", self._learner.policy(names.index(task)))
        recall, lasso, _ = self._read(cast(str, text))
        if recall.task is not None:
            return cast("TensorDictModule", self._learner.policy(self.finished[recall.task]))
        heads = on_cpu(extract(self._learner.actor.meta_policy, lasso))
        return TensorDictModule(ActingPolicy(heads), ["observation"], ["action"])

    def _read(self, text: str) -> tuple[Recall, Tensor, Tensor]:
        """What is recalled, the mask of the lasso and the mask that is taken, [units] each."""
        learner, finished = self._learner, self.finished
        if not finished:
            raise RunError(f"{self.path}: no task is finished yet; wait until one is")
        with calling("encoder", self.recipe.encoder):
            embedding = self.encoder([text])[0]
        lasso = learner.prompt_mask(embedding)
        with calling("recall", self.recall):
            recall = self.recall(text, [self.tasks[i].texts for i in finished], self.encoder)
        if recall.task is None:
            active_units(lasso, learner.actor.meta_policy.hidden)
            return recall, lasso, lasso
        return recall, lasso, learner.actor.ownership.masks[finished[recall.task]].float()


def open_run(
    path: str | Path, recall: str | RecallPolicy | None = None, **fields: Any
) -> OpenedRun:
    """Opens a run directory, to ask for policies by sentence or by task.

    Args:
        path: run directory.
        recall: a recall policy or the name of one; None: the default, `margin`.
        fields: of the recall policy that is named.
    """
    from cotasp.registry import KINDS

    chosen = None if recall is None else KINDS["recall"].make(recall, **fields)
    return OpenedRun(path, chosen)
