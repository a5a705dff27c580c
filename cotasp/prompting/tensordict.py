"""The links of the line from text to code as TensorDict modules."""

from __future__ import annotations

from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictModuleBase

from cotasp.prompting.encoders import Encoder, checked_embeddings
from cotasp.prompting.prompter import Prompter


class TextEncoder(TensorDictModuleBase):
    """`text` (non-tensor data) to `embedding`, so that an encoder can stand in a sequence.

    Args:
        encoder: see `cotasp.prompting.encoders`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.in_keys = ["text"]
        self.out_keys = ["embedding"]
        self.encoder = encoder

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        text = tensordict["text"]
        if isinstance(text, str):
            return tensordict.set("embedding", checked_embeddings(self.encoder, [text])[0])
        return tensordict.set("embedding", checked_embeddings(self.encoder, list(text)))


def prompt_module(prompter: Prompter) -> TensorDictModule:
    """`embedding` to `code`, as a TensorDict module."""
    return TensorDictModule(prompter, in_keys=["embedding"], out_keys=["code"])
