"""Updates of several learners computed together: one product where each would make its own.

What each learns is what it would learn alone, up to the rounding of sums in another order.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from cotasp.agents.compiled import LossFunctions
from cotasp.agents.graphs import CapturedGraph
from cotasp.agents.updates import (
    Draws,
    Losses,
    Updated,
    losses_of,
    names_of_losses,
    update,
)
from cotasp.errors import PluginError, component_errors
from cotasp.methods.adam import Adam
from cotasp.methods.batch import Batch
from cotasp.methods.stacked_actor import StackedActor
from cotasp.methods.stacking import StackedAdam, WriteBack, stack

KEPT = 8  # stacks, each with its captured graph, of the sizes that were met last


class StackedUpdates:
    """Updates of several learners of one recipe, computed together; `update_alone` for many.

    Learners that are at different places of their tasks, so that their updates differ in kind,
    are updated apart.
    """

    def __init__(self) -> None:
        self.stacks: dict[tuple, Stack] = {}

    def __call__(self, learners: Sequence[Updated], draws: Sequence[Draws]) -> list[Losses]:
        """As many updates of each learner as it has drawn for.

        Args:
            learners: of one recipe, apart from the seed.
            draws: for each learner, what its updates draw.

        Returns:
            for each learner, the losses of its updates.
        """
        places: dict[tuple, list[int]] = {}
        for i, (learner, own) in enumerate(zip(learners, draws)):
            adams = learner.actor.sub.optimiser, *learner.values.optimisers
            steps = [adam.steps for adam in adams]
            head = learner.actor.sub.head  # the same for all of a stack
            places.setdefault((learner.phase, head, *steps, len(own.noise)), []).append(i)
        results: list[Losses] = [{} for _ in learners]
        for alike in places.values():
            first = learners[alike[0]]
            with losses_of(first.settings, first.phase) as compute:
                stack = self._stack([learners[i] for i in alike], compute)
                losses = stack.update([draws[i] for i in alike])
                for i, of_one in zip(alike, losses):
                    results[i] = of_one
        return results

    def alone(self, learner: Updated, draws: Draws) -> Losses:
        """Updates of one learner, as those of many are computed."""
        return self([learner], [draws])[0]

    def _stack(self, learners: Sequence[Updated], compute: LossFunctions) -> Stack:
        """One of the kept stacks, with what the learners are now, or a new one."""
        key = stack_key(learners)
        stack = self.stacks.pop(key, None)
        if stack is None:
            stack = Stack(learners, compute)
        elif not stack.is_current():
            stack.load()
        self.stacks[key] = stack  # the last one is the latest used
        while len(self.stacks) > KEPT:
            del self.stacks[next(iter(self.stacks))]
        return stack


def stack_key(learners: Sequence[Updated]) -> tuple:
    """Equal for learners that one `Stack` can hold, now and later."""
    remembered = [
        tensor.data_ptr()
        for x in learners
        for state in x.actor.sub.states
        for of in state.values()
        for tensor in of.values()
    ]
    widths = [x.actor.sub.network.hidden for x in learners]
    # a protection's penalty is computed on each learner's own weights and state
    shapes = (*widths, *remembered) if remembered else map(max, zip(*widths))
    return learners[0].phase, learners[0].actor.sub.head, *map(id, learners), *shapes


class Stack:
    """Networks and optimisers of several learners in one phase, as copies, one above the other.

    On a GPU an update of weights is captured as a CUDA graph, so everything that it reads and
    writes stays where it is.

    Args:
        learners: in the same phase, after equally many updates of it.
        compute: the losses of that phase.
    """

    def __init__(self, learners: Sequence[Updated], compute: LossFunctions) -> None:
        self.learners = learners
        self.phase = learners[0].phase
        self.settings = learners[0].settings
        self.actor = StackedActor([x.actor for x in learners])
        self.optimisers = [StackedAdam(same) for same in self._own()]
        self.targets = [stack(same) for same in zip(*self._targets())]
        self._targets_back = WriteBack(self.targets, self._targets())
        self.values = learners[0].values.of(self.optimisers, self.targets)
        self.values.compute = compute
        device = self.targets[0].device.type
        self.captures = self.settings.captures and device == "cuda" and self.phase != "code"
        self.graph: CapturedGraph | None = None

    def _own(self) -> list[list[Adam]]:
        """The learners' optimisers of their values, by what they step."""
        return [list(same) for same in zip(*(x.values.optimisers for x in self.learners))]

    def _targets(self) -> list[list[Tensor]]:
        return [x.values.target_weights for x in self.learners]

    def _pairs(self) -> list[tuple[StackedAdam, list[Adam]]]:
        return [*zip(self.optimisers, self._own()), (self.actor.optimiser, self.actor.own)]

    def is_current(self) -> bool:
        """Whether no learner has changed since it was last given back what it has become."""
        return all(stacked.is_current(own) for stacked, own in self._pairs())

    def load(self) -> None:
        """Copies what the learners are now, in the place of what they were."""
        self.actor.load()
        for stacked, own in zip(self.optimisers, self._own()):
            stacked.load(own)
        for into, same in zip(self.targets, zip(*self._targets())):
            stack(same, into)
        self._targets_back = WriteBack(self.targets, self._targets())

    def update(self, draws: Sequence[Draws]) -> list[Losses]:
        """Updates of every learner, who gets what it has become; their losses."""
        batches = [torch.stack(same, 1) for same in zip(*(x.batch for x in draws))]
        noise = torch.stack([x.noise for x in draws], 2)  # [updates, 2, learners, B, action_dim]
        for stacked, own in self._pairs():
            stacked.adam.learning_rate = own[0].learning_rate
        if self.captures and self.graph is None:
            self._capture([*(column[0] for column in batches), noise[0]])
        step = self._step if self.graph is None else self.graph
        names = names_of_losses(self.settings, self.phase)
        rows = noise.new_empty(len(noise), len(names), len(self.learners))
        with component_errors("agent", self.settings):
            for row, *inputs in zip(rows, *batches, noise):
                now = step(*inputs)  # whose values the next step may overwrite
                torch._foreach_copy_(row.unbind(), [now[name] for name in names])
        self._write_back()
        return [dict(zip(names, columns.unbind(1))) for columns in rows.unbind(2)]

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        try:
            self.graph = CapturedGraph(self._step, inputs)
        except (RuntimeError, PluginError) as error:
            warnings.warn(
                f"recipe.agent.cuda_graphs: an update could not be captured, so training goes on "
                f"without, right but slower; cuda_graphs=false ends this warning "
                f"({str(error).strip().split(chr(10))[0]})",
                stacklevel=2,
            )
            self.captures = False
        self.load()  # the updates made for the capture count for nothing

    def _step(self, *inputs: Tensor) -> Losses:
        """One update of every learner from columns [learners, B, *] and noise [2, learners, B,
        action_dim]; losses [learners].
        """
        *columns, noise = inputs
        return update(self.settings, self.values, self.actor, self.phase, Batch(*columns), noise)

    @torch.no_grad()
    def _write_back(self) -> None:
        """Gives the learners what they have become."""
        self.actor.write_back()
        for stacked in self.optimisers:
            stacked.write_back()
        self._targets_back()
