"""The dictionary of one hidden layer: atoms, sufficient statistics and remembered pairs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cotasp.checks import check
from cotasp.errors import RecipeError
from cotasp.ranges import Count, Positive

_MEMORY = ("embeddings", "codes")
LEAN = 0.2  # share of the texts in atoms of init="texts"; see docs/measurements.md


class Dictionary(nn.Module):
    r"""Atoms of one hidden layer, one per neuron, and what finished tasks left behind.

    An update rule (`cotasp.dictionaries.updates`) changes the atoms at the end of a task.  What
    it may need is kept here, so that a checkpoint of this module is enough to go on bit for bit:

    * the sufficient statistics :math:`A = \sum_t s_t^\top s_t` and :math:`B = \sum_t e_t^\top s_t`
      of online dictionary learning (Mairal et al. 2009; CoTASP, arXiv 2305.18444, Sec. 4.3),
    * the memory: the latest code of every text, as rows of `embeddings` and `codes`.

    Args:
        n_components: K, number of atoms, which is the width of the layer.
        n_features: m, dimension of the text embedding.
        init: `"random"` draws rows from N(0, 1) and scales those longer than `max_norm` back to
            it.  `"svd"` puts the right singular vectors of `data`, scaled to `max_norm`, in the
            first rows, strongest first, and random rows, as above, in the rest.  `"texts"` leans
            random directions a little towards the span of `data`, each towards a random
            combination of its rows, so that masks overlap more as texts are alike.
        max_norm: c > 0, largest Euclidean norm of an atom.
        seed: seed of the initial draw and of every later one.
        data: [n, m] embeddings for `init="svd"` and `init="texts"`.

    Buffers:
        atoms: [K, m] float64, D.
        A: [K, K] float64.
        B: [m, K] float64.
        embeddings: [n, m] float64, one row per different text, in order of first visit.
        codes: [n, K] float64, the latest code of each.
        n_recorded: int64, number of pairs recorded, repeats included.
        seed: int64.

    `atoms`, `A` and `B` are always written in place.  The memory grows, so `load_state_dict`
    gives `embeddings` and `codes` the number of rows they have in the checkpoint; every other
    shape must fit, as usual.

    Raises:
        RecipeError: a size that is no integer or below 1, a seed that is none, `max_norm` not
            positive and finite, an unknown `init`, or `data` missing, misplaced, of the wrong
            shape or not finite.

    >>> dictionary = Dictionary(8, 3, seed=1)
    >>> dictionary.atoms.shape, bool((dictionary.atoms.norm(dim=1) <= 1 + 1e-12).all())
    (torch.Size([8, 3]), True)
    """

    atoms: Tensor
    A: Tensor
    B: Tensor
    embeddings: Tensor
    codes: Tensor
    n_recorded: Tensor
    seed: Tensor

    def __init__(
        self,
        n_components: int,
        n_features: int,
        *,
        init: Literal["random", "svd", "texts"] = "random",
        max_norm: float = 1.0,
        seed: int = 0,
        data: Tensor | None = None,
    ):
        super().__init__()
        for name, value in (("n_components", n_components), ("n_features", n_features)):
            check(Count, value, f"Dictionary.{name}")
        check(int, seed, "Dictionary.seed")
        check(Positive, max_norm, "Dictionary.max_norm")
        if init not in ("random", "svd", "texts"):
            raise RecipeError(f"Dictionary.init: expected random, svd or texts, got {init!r}")
        if (data is not None) != (init != "random"):
            raise RecipeError("Dictionary.data: give embeddings exactly when init is svd or texts")

        self.max_norm = float(max_norm)
        K, m = n_components, n_features
        zeros = {"A": (K, K), "B": (m, K), "embeddings": (0, m), "codes": (0, K)}
        for name, shape in zeros.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("n_recorded", torch.tensor(0))
        self.register_buffer("seed", torch.tensor(seed))
        generator = self.generator()
        atoms = torch.randn(K, m, dtype=torch.float64, generator=generator)
        if data is not None:
            data = _checked(data, "Dictionary.data", (None, m)).double()
            if init == "svd":
                directions = torch.linalg.svd(data, full_matrices=False).Vh[:K]
                atoms[: len(directions)] = directions * self.max_norm
            else:
                shares = torch.randn(K, len(data), dtype=torch.float64, generator=generator)
                atoms = (1 - LEAN) * normalize(atoms) + LEAN * normalize(shares @ data)
                atoms = normalize(atoms) * self.max_norm
        self.register_buffer("atoms", self.project(atoms))

    @property
    def n_components(self) -> int:
        """K, number of atoms."""
        return self.atoms.shape[0]

    @property
    def n_features(self) -> int:
        """m, dimension of the text embedding."""
        return self.atoms.shape[1]

    def extra_repr(self) -> str:
        return f"{self.n_components}, {self.n_features}, max_norm={self.max_norm}"

    def project(self, atoms: Tensor) -> Tensor:
        """Rows [*, m] longer than `max_norm` scaled back to it (a new tensor)."""
        return on_ball(atoms, self.max_norm)

    def generator(self) -> torch.Generator:
        """Random numbers for the update that follows the last recorded pair.

        A function of `seed` and `n_recorded` alone, hence the same after a restart.
        """
        mixed = (int(self.seed) * 1_000_003 + int(self.n_recorded)) % 2**63
        return torch.Generator().manual_seed(mixed)

    def check(self, embedding: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """A pair as detached float64 on this module's device.

        Raises:
            RecipeError: not floating tensors of shape [m] or [p, m] and [K] or [p, K], or not
                finite.
        """
        m, K = self.n_features, self.n_components
        phrased = isinstance(embedding, Tensor) and embedding.ndim == 2 and len(embedding) > 0
        embedding = _checked(embedding, "embedding", (len(embedding), m) if phrased else (m,))
        coded = phrased and isinstance(code, Tensor) and code.ndim == 2
        code = _checked(code, "code", (len(embedding), K) if coded else (K,))
        return embedding.to(self.atoms), code.to(self.atoms)

    def record(self, embedding: Tensor, code: Tensor, *, forgetting: float = 1.0) -> None:
        r"""Adds a finished task to the statistics and to the memory; the atoms stay.

        :math:`A \leftarrow \gamma A + s^\top s`, :math:`B \leftarrow \gamma B + e^\top s`.  In the
        memory, a text seen before (the same embedding, exactly) gets the new code.

        Of p phrasings of one task, :math:`B` gets the mean: they are p targets of one code, and
        :math:`\sum_i ||e_i - sD||^2 / p` differs from :math:`||\bar e - sD||^2` by a constant.

        Args:
            embedding: [m], e, or [p, m] of a task's phrasings, the task's own text first.
            code: [K], s, the code that the task ended training with; or [p, K], one to be
                remembered for each phrasing, the task's own first.
            forgetting: gamma in (0, 1], what earlier tasks weigh now.

        Raises:
            RecipeError: see `check`.
        """
        embedding, code = self.check(embedding, code)
        texts = embedding.reshape(-1, self.n_features)
        codes = code.expand(len(texts), -1)
        self.A.mul_(forgetting).addr_(codes[0], codes[0])
        self.B.mul_(forgetting).addr_(texts.mean(dim=0), codes[0])
        self.n_recorded += 1
        for text, its_code in zip(texts, codes):
            same = (self.embeddings == text).all(dim=1).nonzero().flatten()
            if len(same):
                self.codes[same] = its_code
            else:
                self.embeddings = torch.cat([self.embeddings, text[None]])
                self.codes = torch.cat([self.codes, its_code[None]])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        entries = [state_dict.get(prefix + name) for name in _MEMORY]
        saved = [x for x in entries if x is not None and x.ndim == 2]
        if len(saved) == len(_MEMORY) and len(saved[0]) == len(saved[1]):
            for name, value in zip(_MEMORY, saved):
                mine = getattr(self, name)
                if mine.shape[1] == value.shape[1] and len(mine) != len(value):
                    setattr(self, name, mine.new_zeros(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def on_ball(atoms: Tensor, max_norm: float) -> Tensor:
    """Rows [*, m] longer than `max_norm` scaled back to it (a new tensor).

    Nearest point of the ball; the others stay as they are, bit for bit.
    """
    return atoms * (max_norm / atoms.norm(dim=-1, keepdim=True)).clamp(max=1.0)


def _checked(value: Tensor, name: str, shape: tuple[int | None, ...]) -> Tensor:
    """`value`, detached, when it is a finite floating tensor of this shape (None: any size)."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise RecipeError(f"{name}: expected a floating tensor, got {got}; convert it first")
    fits = value.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, value.shape)
    )
    if not fits:
        wanted = ["n" if size is None else size for size in shape]
        raise RecipeError(f"{name}: expected shape {wanted}, got {list(value.shape)}")
    if not value.isfinite().all():
        raise RecipeError(f"{name}: expected finite numbers, got NaN or infinity; check its source")
    return value.detach()
