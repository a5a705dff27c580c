"""What texts alone give of an actor, without its network: prompts, masks, finished tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cotasp.methods.checks import check_embeddings
from cotasp.methods.method import Method
from cotasp.modules.codes import LayerMasks
from cotasp.modules.ownership import Ownership
from cotasp.prompting.encoders import checked_embeddings
from cotasp.prompting.prompter import Prompter


class Prompts:
    """Dictionaries, mask policy and the units of finished tasks: all that a sentence is read by.

    Args:
        method: encoder, dictionary, mask policy and widths of the network.
        texts: of the tasks, in order.
        seed: of the initial atoms.
        device: of masks.
        phrasings: of each task, other texts that are to lead to its policy; empty: none has any.
    """

    def __init__(
        self,
        method: Method,
        texts: Sequence[str],
        seed: int = 0,
        device: torch.device | str = "cpu",
        phrasings: Sequence[Sequence[str]] = (),
    ) -> None:
        hidden = method.actor.hidden
        self.embeddings = checked_embeddings(method.encoder, texts)
        self.phrasings = [checked_embeddings(method.encoder, each) for each in phrasings]
        self.prompter = Prompter(
            method.dictionary, hidden, method.encoder.dim, seed=seed, data=self.embeddings
        )
        self.masks = LayerMasks(method.mask, hidden)
        self.ownership = Ownership(len(texts), sum(hidden), device)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return self.masks.hidden

    def mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.masks(self.prompter(embedding).to(self.ownership.device))

    def end_task(self, task: int, code: Tensor) -> dict[str, float]:
        """Teaches the dictionaries the code [sum(hidden)] that a task ended with, for its text and
        its phrasings; facts worth logging.
        """
        embedding = self.embeddings[task]
        if self.phrasings and len(self.phrasings[task]):
            embedding = torch.cat([embedding[None], self.phrasings[task]])
        return self.prompter.end_task(embedding, code)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes from the state of a `ContinualActor` what is not its network.

        Raises:
            RunError: the state is of other texts.
        """
        check_embeddings(state["embeddings"], begun_tasks(state), self.embeddings)
        self.prompter.load_state_dict(state["prompter"])
        self.ownership.load_state_dict(state["ownership"])


def begun_tasks(state: Mapping[str, Any]) -> int:
    """How many tasks of the stream had begun, by the state of a `ContinualActor`."""
    return 1 + max([int(state["task"]), *map(int, state["ownership"])])
