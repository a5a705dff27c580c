"""What encoders and recall policies promise."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cotasp.prompting.encoders import Encoder
from cotasp.prompting.recall import RecallPolicy
from cotasp.testing._ensure import ensure

TEXTS = (
    "Hammer a screw on the wall.",
    "Push the puck to a goal.",
    "Pull a puck to a goal.",
    "Push and close a window.",
)


def check_encoder(encoder: Encoder, texts: Sequence[str] = TEXTS) -> None:
    """Checks shape, type, unit norm and determinism, and that a row is its own text's alone.

    Args:
        encoder: not prepared.
        texts: different ones, at least two.

    Raises:
        AssertionError: a promise of `cotasp.prompting.Encoder` is broken.
    """
    fields = repr(encoder)
    ready = encoder.prepare(texts)
    ensure(repr(encoder) == fields, "prepare leaves the encoder as it was")
    rows = ready(texts)
    shape = len(texts), encoder.dim
    ensure(rows.shape == shape, f"embeddings are {list(shape)}, [n, dim], got {list(rows.shape)}")
    ensure(rows.dtype == torch.float32, f"embeddings are float32, got {rows.dtype}")
    ensure(rows.device.type == "cpu", f"embeddings are on the CPU, got {rows.device}")
    ensure(not rows.requires_grad, "embeddings have no gradient")
    norms = rows.double().norm(dim=1)
    off = float((norms - 1).abs().max())
    ensure(off < 1e-6, f"embeddings have unit norm to 1e-6, got one that is {off:.3g} off")
    cosines = rows @ rows.mT - torch.eye(len(texts))
    ensure(cosines.max() < 0.999, "different texts have different embeddings")

    ensure(torch.equal(ready(texts), rows), "equal texts have equal embeddings, each time")
    again = ready.prepare(texts)
    ensure(torch.equal(again(texts), rows), "a second prepare changes nothing")
    ensure(torch.equal(encoder.prepare(texts)(texts), rows), "prepare is deterministic")
    backwards = ready(list(reversed(texts)))
    ensure(torch.equal(backwards.flip(0), rows), "a row depends on its own text alone")
    for text, row in zip(texts, rows):
        for same in (f"  {text}\n", text.upper(), text.rstrip(".") + " !"):
            ensure(torch.equal(ready([same])[0], row), f"{same!r} and {text!r} are one text")

    written = ready(texts)
    written.zero_()
    ensure(torch.equal(ready(texts), rows), "results may be written to")
    nothing = ready([])
    ensure(nothing.shape == (0, encoder.dim), f"no texts give [0, dim], got {list(nothing.shape)}")
    unseen = encoder(texts)
    ensure(unseen.shape == shape, "texts that prepare never saw are encoded, too")


def check_recall(
    policy: RecallPolicy, encoder: Encoder, texts: Sequence[str] = TEXTS, unknown: str = "Swim."
) -> None:
    """Checks that what was taught is known, and that a task is named for paraphrases only.

    Args:
        policy: what is checked.
        encoder: of the texts.
        texts: of one task each.
        unknown: a sentence that was not taught.

    Raises:
        AssertionError: a promise of `cotasp.prompting.recall.RecallPolicy` is broken.
    """
    tasks = [(text,) for text in texts]
    ready = encoder.prepare([*texts, unknown])
    for place, text in enumerate(texts):
        for said in (text, f" {text.upper().rstrip('.')}"):
            recall = policy(said, tasks, ready)
            outcome = recall.verdict, recall.task
            ensure(outcome == ("known", place), f"{said!r} was taught, got {outcome}")
            ensure(len(recall.scores) == len(tasks), "there is a score for each task")
    recall = policy(unknown, tasks, ready)
    ensure(recall.verdict in ("paraphrase", "ambiguous", "new"), f"{unknown!r} was not taught")
    named = recall.task is not None
    ensure(named == (recall.verdict == "paraphrase"), "a task is named for paraphrases only")
    alone = policy(texts[0], tasks[:1], ready)
    ensure(alone.task == 0, "one task suffices")
