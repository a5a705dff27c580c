"""A run opened: a sentence in, a policy out."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cotasp.continual.curves import Curves, draw_curves, read_curves
from cotasp.continual.facts import LayerFacts, PromptFacts, TaskFacts
from cotasp.continual.kept import NOT_REACHED, Kept
from cotasp.continual.metrics import METRICS
from cotasp.continual.saved import SavedRun
from cotasp.continual.setup import text_marks
from cotasp.dictionaries.diagnostics import jaccard
from cotasp.errors import RecipeError, RunError, component_errors
from cotasp.methods.prompts import Prompts
from cotasp.modules.subnetwork import active_units, extract
from cotasp.prompting.encoders import Encoder, checked_embeddings
from cotasp.prompting.recall import Recall, RecallPolicy, similarities
from cotasp.recipe import Recipe
from cotasp.registry import suggest
from cotasp.storage.rundir import RunDirectory
from cotasp.tasks.task import Task, owners

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tensordict.nn import TensorDictModule
    from torch import Tensor

    from cotasp.agents.off_policy import OffPolicyLearner
    from cotasp.continual.evaluation import Episodes
    from cotasp.film.episode import Episode
    from cotasp.modules.policy import MetaPolicy


class OpenedRun:
    """The policies of a run's last checkpoint, by task or by sentence.

    What a sentence means is said from the dictionaries alone; the networks are made, and TorchRL is
    imported, when the first policy is asked for.

    Args:
        path: run directory.
        recall: which finished task a sentence means, see `cotasp.prompting.recall`; None: as the
            run's recipe says.

    Raises:
        RunError: no run directory, no checkpoint, or one that does not fit the recipe.
    """

    recipe: Recipe
    tasks: tuple[Task, ...]

    def __init__(self, path: str | Path, recall: RecallPolicy | None = None) -> None:
        self.path = RunDirectory(path).path
        self._saved = SavedRun.read(path)
        self.recipe, self.tasks = self._saved.recipe, self._saved.tasks
        self.recall = self.recipe.recall if recall is None else recall
        self._owners = owners(self.tasks)
        texts = [task.text for task in self.tasks]
        phrasings = [text for task in self.tasks for text in task.phrasings]
        with component_errors("encoder", self.recipe.encoder):
            self.encoder: Encoder = self.recipe.encoder.prepare([*texts, *phrasings])

    @property
    def ended(self) -> int:
        """How many tasks of the stream have ended, those that returned included."""
        return self._saved.finished

    @property
    def finished(self) -> list[int]:
        """Places in `tasks` of those that have been learned."""
        places = enumerate(zip(self._owners, self.tasks))  # one that returns is the earlier one
        ended = self._saved.finished
        return [i for i, (owner, t) in places if owner < ended and owner in (i, i - t.part)]

    @cached_property
    def _learner(self) -> OffPolicyLearner:
        return cast("OffPolicyLearner", self._saved.learner())

    @cached_property
    def _prompts(self) -> Prompts:
        """What sentences are read by, as the checkpoint has it."""
        state = self._saved.learner_state.get("actor")
        if state is None:
            raise RunError(
                f"{self.path}: a {type(self.recipe.agent).__name__} has no prompts, so that a "
                f"sentence means nothing to it; ask for a task by its name"
            )
        method = replace(self.recipe.method, encoder=self.encoder)
        prompts = Prompts(method, [task.text for task in self.tasks], self.recipe.seed)
        with self._saved.loading():
            prompts.load_state_dict(state)
        return prompts

    def _masks(self) -> Tensor:
        """Masks [n, sum(hidden)] of the finished tasks."""
        return self._prompts.ownership.masks[[self._owners[i] for i in self.finished]]

    def prompt(self, text: str) -> PromptFacts:
        """What the run makes of a sentence.

        Raises:
            RecipeError: a text that no encoder takes, or needs a model that is not to be had.
            RunError: the run has finished no task.
        """
        recall, lasso, mask = self._read(text)
        prompts, finished = self._prompts, self.finished
        overlaps = jaccard(self._masks(), lasso > 0).tolist()
        cosines = similarities(text, [self.tasks[i].texts for i in finished], self.encoder)
        rows = [
            TaskFacts(self.tasks[i].name, self.tasks[i].text, score, float(cosine.max()), overlap)
            for i, score, cosine, overlap in zip(finished, recall.scores, cosines, overlaps)
        ]
        hidden = prompts.hidden
        layers = zip(hidden, (mask > 0).split(hidden), prompts.ownership.owned.split(hidden))
        return PromptFacts(
            text,
            recall.verdict,
            None if recall.task is None else self.tasks[finished[recall.task]].name,
            tuple(sorted(rows, key=lambda row: -row.score)),
            tuple(LayerFacts(k, int(on.sum()), int((on & own).sum())) for k, on, own in layers),
        )

    def policy(self, text: str | None = None, *, task: str | None = None) -> TensorDictModule:
        """A policy, `observation` to `action`, deterministic or sampled by TorchRL's exploration
        type, on the CPU.  Where the run's policy is told its task (`task_input`, or lessons of
        several tasks), observations end with its mark, as those of `Task.make_env` do.

        Args:
            text: a sentence; it gets the policy that `prompt` says.
            task: or the name of a task.

        Raises:
            RecipeError: neither or both, no such task, or a text that no encoder takes.
            RunError: the run has finished no task, or a layer would have no neuron.
        """
        from tensordict.nn import TensorDictModule

        from cotasp.agents.acting import ActingPolicy, on_cpu

        if (text is None) == (task is None):
            raise RecipeError("policy: expected a text or task=, one of the two")
        if task is not None:
            return cast("TensorDictModule", self._learner.policy(self._place(task)))
        network, place = self.network(cast(str, text))
        if place is not None:
            return cast("TensorDictModule", self._learner.policy(place))
        return TensorDictModule(ActingPolicy(on_cpu(network)), ["observation"], ["action"])

    def network(self, text: str) -> tuple[MetaPolicy, int | None]:
        """The sub-network that a sentence gets, and the place in `tasks` of the finished task that
        it is; None: one that nobody has trained.

        Raises:
            RecipeError: a text that no encoder takes.
            RunError: the run has finished no task, or a layer would have no neuron, or no head is
                the sentence's.
        """
        recall, lasso, _ = self._read(text)
        if recall.task is None:
            if self.recipe.actor.heads == "per_task":
                raise RunError(
                    f"{text!r} means no finished task for sure, and this run's network has a head "
                    f"for each of its tasks and none for another (actor.heads)"
                )
            return extract(self._learner.actor.meta_policy, lasso), None
        place = self.finished[recall.task]
        return self._learner.sub_network(place), place

    def mark(self, text: str) -> tuple[float, ...]:
        """What the policy that a sentence gets is told of its task, at the end of observations;
        nothing where the run tells it nothing.

        Raises:
            RecipeError: a text that no encoder takes.
            RunError: the run has finished no task, or tells its policy the number of the task, and
                the sentence means none.
        """
        recall = self._read(text)[0]
        if recall.task is not None:
            return self.tasks[self.finished[recall.task]].mark
        if not self.tasks[0].mark:
            return ()
        if self.recipe.task_input == "text":
            return text_marks(self.recipe, self.tasks, [text])[0]
        raise RunError(
            f"{text!r} means no finished task for sure, and this run's policy is told the number "
            f"of its task, which the sentence has none of; name a task, or train with task_input "
            f"text"
        )

    def sub_network(self, task: str) -> tuple[int, MetaPolicy]:
        """The place of a task, and its sub-network; RecipeError if there is none of that name."""
        place = self._place(task)
        return place, self._learner.sub_network(place)

    def play(
        self, text: str | None = None, *, task: str | None = None, **options: Any
    ) -> list[Episode]:
        """Episodes of a policy with their frames, for `cotasp.film.save`.

        Args:
            text: a sentence, played in the environment of the task that it means, or of the most
                similar one.
            task: the name of a task: its own policy; or with a text, its environment.
            options: `episodes`, `seed` and `size` of `cotasp.continual.playing.watch`.

        Raises:
            RecipeError: no such task, or a text that no encoder takes.
            RunError: no task is finished, the environment cannot be drawn here, or it failed.
        """
        from cotasp.continual.playing import watch

        self._check_finished()
        chosen, policy = self.choose(text, task)
        settings, faults = self.recipe.evaluation, self.recipe.faults
        return watch(chosen, policy, settings, text=text, faults=faults, **options)

    def evaluate(
        self,
        text: str | None = None,
        *,
        task: str | None = None,
        episodes: int | None = None,
        mode: str | None = None,
    ) -> Episodes:
        """How a policy does, episode by episode, on the episodes that the run's evaluations have.

        Args:
            text: as for `play`.
            task: as for `play`; one that is not finished is done from its text alone.
            episodes: how many; None: as in the run.
            mode: `"deterministic"` or `"stochastic"`; None: as in the run.

        Raises:
            RecipeError: no such task, fewer than one episode, or a text that no encoder takes.
            RunError: no task is finished, or an observation or a reward is not finite.
        """
        from cotasp.continual.evaluation import Evaluator

        changes: dict[str, Any] = {"episodes": episodes, "mode": mode}
        changes = {name: value for name, value in changes.items() if value is not None}
        settings = replace(self.recipe.evaluation, **changes)
        chosen, policy = self.choose(text, task)
        evaluator = Evaluator((chosen,), settings, self.recipe.seed, self.recipe.faults)
        try:
            return evaluator.episodes(0, policy)
        finally:
            evaluator.close()

    def curve(self, metric: str = "success") -> Curves:
        """Each task's values over the whole run, (environment steps, value).

        Args:
            metric: what an evaluation finds, `"success"` (the one that counts), `"success_last"`,
                `"success_any"`, `"episode_return"` or `"episode_length"`, or any other `name` of
                `metrics.csv`.

        Raises:
            RecipeError: another metric.
            RunError: nothing has been logged yet.
        """
        return read_curves(self.path, metric)

    def plot(self) -> Figure:
        """A figure of success and return of each task over the whole run, by matplotlib.

        Raises:
            RecipeError: matplotlib is not installed.
            RunError: nothing has been evaluated yet.
        """
        budget, trained = self.recipe.steps_per_task, {}
        for i, task in enumerate(self.tasks):
            first = i - task.part
            trained[task.name] = first * budget, (first + task.together) * budget
        by_return = any(task.return_range is not None for task in self.tasks)
        label = "success or normalised return" if by_return else "success rate"
        curves = {label: self.curve("success"), "return": self.curve("episode_return")}
        return draw_curves(curves, trained)

    def table(self) -> Any:
        """Each task's metrics, a row for each: a `pandas.DataFrame` where pandas is installed, else
        a list of dictionaries.  What a task never got to reads "not reached".

        Raises:
            RunError: the run has not ended, or its summary is damaged.
        """
        summary = RunDirectory.open(self.path).results()
        columns = {"task": summary["tasks"], **summary.get("per_task", {})}
        kept = Kept.from_summary(summary)
        for name in [name for name in columns if name in METRICS]:
            unreached = METRICS[name].unreached
            if unreached is not None:
                pairs = zip(columns[name], unreached(kept))
                columns[name] = [NOT_REACHED if missed == 1.0 else value for value, missed in pairs]
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        try:
            import pandas
        except ImportError:
            return rows
        return pandas.DataFrame(rows).set_index("task")

    def choose(self, text: str | None, task: str | None) -> tuple[Task, TensorDictModule]:
        """The task whose environment it is, and the policy, that a sentence, the name of a task or
        both ask for: with both, the sentence's policy in the task's environment.  What that policy
        is told of its task is the sentence's, in whichever environment.
        """
        if text is None:
            policy = self.policy(task=task)
            return self.tasks[self._place(cast(str, task))], policy
        wanted = None if task is None else self._place(task)
        if wanted is None:
            facts = self.prompt(text)
            wanted = self._place(facts.task or facts.nearest[0].name)
        return replace(self.tasks[wanted], mark=self.mark(text)), self.policy(text)

    def _check_finished(self) -> None:
        if not self.finished:
            raise RunError(f"{self.path}: no task is finished yet; wait until one is")

    def _place(self, task: str) -> int:
        names = [each.name for each in self.tasks]
        if task not in names:
            raise RecipeError(f"task: unknown task {task!r}. {suggest(task, names)}")
        return names.index(task)

    def _read(self, text: str) -> tuple[Recall, Tensor, Tensor]:
        """What is recalled, the mask of the lasso and the mask that is taken, [units] each."""
        self._check_finished()
        prompts, finished = self._prompts, self.finished
        lasso = prompts.mask(checked_embeddings(self.encoder, [text])[0])
        with component_errors("recall", self.recall):
            recall = self.recall(text, [self.tasks[i].texts for i in finished], self.encoder)
        if recall.task is None:
            active_units(lasso, prompts.hidden)
            return recall, lasso, lasso
        return recall, lasso, self._masks()[recall.task].float()


def open_run(
    path: str | Path, recall: str | RecallPolicy | None = None, **fields: Any
) -> OpenedRun:
    """Opens a run directory, to ask for policies by sentence or by task.

    Args:
        path: run directory.
        recall: a recall policy or the name of one; None: the recipe's.
        fields: of the recall policy that is named.
    """
    from cotasp.registry import KINDS

    chosen = None if recall is None else KINDS["recall"].make(recall, **fields)
    return OpenedRun(path, chosen)
