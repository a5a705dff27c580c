"""The arithmetic of the encoders that need no model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cotasp.errors import RecipeError


def unit_rows(rows: np.ndarray, where: str) -> Tensor:
    """Rows [n, m] divided by their Euclidean norm, as float32.

    Raises:
        RecipeError: a row is zero or not finite.
    """
    rows = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise RecipeError(f"{where}: an embedding is zero or not finite; use another encoder")
    return torch.from_numpy((rows / norms).astype(np.float32))


def one_hot(texts: Sequence[str], vocabulary: Sequence[str], dim: int) -> Tensor:
    """Basis vectors [n, dim], float32; see `OneHot`."""
    known = {text: place for place, text in enumerate(vocabulary)}
    places = [_place(text, known, dim, "OneHot") for text in texts]
    return torch.eye(dim, dtype=torch.float32)[places]


def tf_idf(texts: Sequence[Sequence[str]], corpus: Sequence[Sequence[str]], dim: int) -> Tensor:
    """TF-IDF vectors [n, dim], float32, of texts given as words; see `TfIdf`."""
    from sklearn.feature_extraction.text import TfidfTransformer

    known: dict[str, int] = {}
    for word in (word for text in corpus for word in text):
        known.setdefault(word, len(known))

    def counts(some: Sequence[Sequence[str]]) -> np.ndarray:
        places = ([_place(word, known, dim, "TfIdf") for word in text] for text in some)
        return np.reshape([np.bincount(row, minlength=dim) for row in places], (len(some), dim))

    if not texts or not corpus:  # nothing to weigh, or no weights
        return unit_rows(counts(texts), "TfIdf")
    weights = TfidfTransformer(norm=None).fit(counts(corpus))
    return unit_rows(weights.transform(counts(texts)).toarray(), "TfIdf")


def random_directions(texts: Sequence[str], dim: int, seed: int) -> Tensor:
    """Uniform directions [n, dim], float32; see `RandomEncoder`."""
    rows = [np.random.default_rng([seed, _digest(text)]).standard_normal(dim) for text in texts]
    return unit_rows(np.reshape(rows, (len(texts), dim)), "RandomEncoder")


def _place(item: str, known: Mapping[str, int], dim: int, where: str) -> int:
    """The dimension of a known item, or a free one by hash."""
    if item in known:
        return known[item]
    free = dim - len(known)
    if free == 0:
        raise RecipeError(
            f"{where}.dim: {item!r} is new, and all {dim} dimensions belong to known items; "
            f"set dim above {dim} to leave room for texts outside the stream"
        )
    return len(known) + _digest(item) % free


def _digest(text: str) -> int:
    """A 128-bit hash that is the same in every process, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
