"""A continual method, by its components."""

from __future__ import annotations

from dataclasses import dataclass

from cotasp.methods.memories.task import TaskOnly
from cotasp.methods.memory import Memory
from cotasp.methods.protection import Protection
from cotasp.methods.renewal import Renewal
from cotasp.modules.masks import MaskPolicy
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.encoders import Encoder
from cotasp.prompting.sparse_coding import SparseCoding


@dataclass(frozen=True)
class Method:
    """Allocation (encoder, dictionary, mask, renewals) times protection and its memory.

    The encoder is prepared for the problem's texts.
    """

    encoder: Encoder
    dictionary: SparseCoding
    mask: MaskPolicy
    protections: tuple[Protection, ...]
    actor: ActorSpec
    renewals: tuple[Renewal, ...] = ()
    memory: Memory = TaskOnly()
