"""The recipe's fields of offline meta-learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cotasp.checks import check_fields
from cotasp.errors import RecipeError
from cotasp.ranges import Count, Natural, Positive, Range, Share


@dataclass(frozen=True)
class MetaLearning:
    """How CoMPS learns from finished tasks what to begin the next one with.

    The paper's body was not at hand; what its abstract leaves open is a field here, and defaults
    are what measurements favour (docs/comps.md).

    Args:
        updates: of start and step sizes, at every task's end.
        inner_steps: policy-gradient steps by which a task's policy is reached from the start; 0:
            none, which is cloning of all skilled trajectories by one policy.
        order: `"second"`: the gradient goes through the inner steps; `"first"`: it does not.
        outer: what an adapted policy is judged by on skilled trajectories, `"squared"`: distance of
            its mean action, or `"likelihood"`.
        begin: where training starts, from the last task's result (`"previous"`) or from weights
            drawn anew (`"fresh"`).
        fast_updates: batches at a new task's beginning that are learned from by one inner step, as
            it was trained for, and only later ones by PPO.
        step_size: of every weight, at the beginning; for standardised advantages about 1.
        learn_step_sizes: whether they are learned with the start.
        learning_rate: Adam's, of the start and the step sizes.
        weight_clip: eps, beyond which importance weights, in [1 - eps, 1 + eps], are clipped.
        batch_size: transitions per task and inner step, and of skilled trajectories.
        tasks_per_update: finished tasks that an update sees, drawn at random; None: all.
        skilled: trajectories of highest return that are imitated, per task.
        inner_data: what inner steps learn from: transitions `"kept"` of a task's learning, or ones
            taken `"anew"` by the start in all finished tasks, which then are no longer past (guided
            meta-policy search, GMPS, arXiv 1904.00956): beside which to judge what is kept.
        anew_every: updates for which such transitions serve: an episode in each environment of
            every finished task.  More make the step one for these very samples.  What is kept is
            then kept all the same.
        rows_per_task: transitions kept of each task; None: all.
        keep: which, if not all: the `"first"` or the `"last"`.
    """

    updates: Natural = 600
    inner_steps: Natural = 1
    order: Literal["second", "first"] = "second"
    outer: Literal["squared", "likelihood"] = "squared"
    begin: Literal["previous", "fresh"] = "previous"
    fast_updates: Natural = 1
    step_size: Positive = 1.0
    learn_step_sizes: bool = True
    learning_rate: Positive = 1e-3
    weight_clip: Share = 0.2
    batch_size: Annotated[int, Range(1, 10**6)] = 300
    tasks_per_update: Count | None = None
    skilled: Count = 10
    inner_data: Literal["kept", "anew"] = "kept"
    anew_every: Count = 5
    rows_per_task: Count | None = None
    keep: Literal["first", "last"] = "first"

    def __post_init__(self):
        check_fields(self)
        if self.inner_data == "anew" and self.inner_steps == 0:
            raise RecipeError("inner_data: expected 'kept' without inner steps, got 'anew'")
