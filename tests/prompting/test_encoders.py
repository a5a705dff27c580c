"""What every encoder refuses, and what each model-free one promises besides the contract."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from tensordict import TensorDict

from cotasp.errors import PluginError, RecipeError
from cotasp.prompting import TextEncoder
from cotasp.prompting.encoders import SBERT, OneHot, RandomEncoder, TfIdf, checked_embeddings
from cotasp.prompting.texts import checked_texts, normal_form
from cotasp.registry import KINDS

TEXTS = (
    "Hammer a screw on the wall.",
    "Push the puck to a goal.",
    "Pull a puck to a goal.",
    "Push and close a window.",
)
NAMES = KINDS["encoder"].names()
CONTROLS = ("onehot", "tfidf", "random")  # the encoders that take any text without a model

any_text = st.text(min_size=1, max_size=40).filter(
    lambda text: any(map(str.isalnum, normal_form(text)))
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COTASP_CACHE", str(tmp_path))


def digest(name: str) -> str:
    encoder = KINDS["encoder"].make(name).prepare(TEXTS)
    return hashlib.sha256(encoder(TEXTS).numpy().tobytes()).hexdigest()


def print_digests() -> None:
    """Run in another process by the determinism test."""
    for name in NAMES:
        print(name, digest(name))


# ------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", ["", "  \n\t", "?!", None, 3])
def test_an_empty_text_is_refused_with_its_place(name, bad):
    encoder = KINDS["encoder"].make(name)
    for call in (encoder, encoder.prepare):
        with pytest.raises(RecipeError, match="as text 1"):
            call([TEXTS[0], bad])
    with pytest.raises(RecipeError, match="sequence of texts"):
        encoder(TEXTS[0])


def test_every_encoder_gives_the_same_bits_in_another_process():
    code = "from tests.prompting.test_encoders import print_digests; print_digests()"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert dict(line.split() for line in output.splitlines()) == {n: digest(n) for n in NAMES}


def test_importing_the_encoders_imports_nothing_heavy():
    code = (
        "import sys; import cotasp.prompting.encoders as e; "
        "[c() for c in (e.SBERT, e.OneHot, e.TfIdf, e.RandomEncoder)]; "
        "heavy = ('torch', 'numpy', 'sklearn', 'scipy', 'sentence_transformers', 'transformers'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"


@settings(deadline=None, max_examples=50)
@given(
    name=st.sampled_from(CONTROLS),
    known=st.lists(any_text, max_size=5),
    new=st.lists(any_text, max_size=5),
)
def test_any_text_is_encoded_seen_or_unseen(name, known, new):
    encoder = KINDS["encoder"].make(name).prepare(known)
    texts = known + new
    embeddings = encoder(texts)
    assert embeddings.shape == (len(texts), encoder.dim)
    norms = embeddings.double().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)


# ------------------------------------------------------------------------------- each by itself


def test_onehot_numbers_texts_in_order_and_never_renumbers():
    encoder = OneHot(dim=6).prepare([TEXTS[2], TEXTS[0], TEXTS[2]])
    assert torch.equal(encoder([TEXTS[2], TEXTS[0]]), torch.eye(6)[:2])
    later = encoder.prepare(TEXTS)
    assert torch.equal(later([TEXTS[i] for i in (2, 0, 1, 3)]), torch.eye(6)[:4])


def test_onehot_keeps_unseen_texts_off_the_known_ones():
    encoder = OneHot(dim=6).prepare(TEXTS)
    unseen = encoder([f"unseen {i}" for i in range(50)])
    assert unseen[:, :4].sum() == 0
    assert (unseen[:, 4:].sum(0) > 0).all()


def test_a_full_onehot_says_so():
    full = OneHot(dim=4).prepare(TEXTS)
    assert torch.equal(full(TEXTS), torch.eye(4))
    with pytest.raises(RecipeError, match=r"OneHot\.dim: 'unseen.' is new.* set dim above 4"):
        full(["unseen"])
    with pytest.raises(RecipeError, match=r"OneHot\.dim: expected at least 4.* got 3"):
        OneHot(dim=3).prepare(TEXTS)


def test_tfidf_has_the_cosines_of_scikit_learns_vectorizer():
    reference = TfidfVectorizer(token_pattern=r"\w+").fit(TEXTS)
    matrix = reference.transform(TEXTS).toarray()
    embeddings = TfIdf().prepare(TEXTS)(TEXTS).double()
    expected = torch.from_numpy(matrix @ matrix.T)
    torch.testing.assert_close(embeddings @ embeddings.T, expected, rtol=0, atol=1e-6)


def test_tfidf_weighs_an_unseen_word_but_matches_it_with_no_known_one():
    encoder = TfIdf().prepare(TEXTS)
    row = encoder(["push xylophone"])[0]
    idf = {"push": 1 + math.log(5 / 3), "xylophone": 1 + math.log(5 / 1)}  # in 2 and 0 of 4 texts
    norm = math.hypot(*idf.values())
    found = sorted(row[row > 0].tolist())
    assert found == pytest.approx(sorted(weight / norm for weight in idf.values()), abs=1e-6)
    assert encoder(["xylophone"]) @ encoder(TEXTS).T == pytest.approx(torch.zeros(1, 4))


def test_a_full_tfidf_says_so():
    with pytest.raises(RecipeError, match=r"TfIdf\.dim: expected at least 4"):
        TfIdf(dim=3).prepare(["push the red puck"])
    with pytest.raises(RecipeError, match=r"TfIdf\.dim: 'blue' is new"):
        TfIdf(dim=4).prepare(["push the red puck"])(["push the blue puck"])


def test_random_directions_depend_on_text_and_seed_only():
    one, other = RandomEncoder(dim=2000), RandomEncoder(dim=2000, seed=1)
    assert torch.equal(one.prepare(["something else"])(TEXTS), one(TEXTS))
    rows = torch.cat([one(TEXTS), other(TEXTS)]).double()
    cosines = rows @ rows.T - torch.eye(len(rows))
    assert cosines.abs().max() < 5 / math.sqrt(2000)  # five standard deviations


def test_random_directions_stay_what_they_were():
    # Saved runs recall tasks by text: these numbers may never change.
    row = RandomEncoder(dim=3)(["Push the puck to a goal."])[0]
    assert row.tolist() == pytest.approx([0.5799437, -0.8104998, 0.0821911], abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneHot(dim=0), r"OneHot\.dim: expected an integer in \[1, 65536\], got 0"),
        (lambda: TfIdf(dim=-1), r"TfIdf\.dim: expected an integer in \[1, 65536\], got -1"),
        (
            lambda: RandomEncoder(dim=0),
            r"RandomEncoder\.dim: expected an integer in \[1, 65536\], got 0",
        ),
        (lambda: RandomEncoder(seed=-1), r"RandomEncoder\.seed: expected at least 0"),
        (lambda: SBERT(model=" "), r"SBERT\.model: expected a model name or a folder"),
        (lambda: OneHot(vocabulary=("",)), "as text 0"),
        (lambda: TfIdf(corpus="push"), "TfIdf.corpus: expected a list, each text, got"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()


def test_normal_forms():
    texts = [" Push  the\npuck ... ", "Öffne das Fenster", "open v3.1", "把窗户关上。"]
    forms = ["push the puck.", "öffne das fenster.", "open v3.1.", "把窗户关上."]
    assert checked_texts("here", texts) == forms
    assert [normal_form(form) for form in forms] == forms
    assert texts[0] == " Push  the\npuck ... "


def test_an_endless_text_is_refused():
    with pytest.raises(RecipeError, match="at most 1,000 characters, got 5,000 as text 1"):
        checked_texts("here", ["a", "push " * 1000])


def test_bytes_that_are_no_unicode_are_refused():
    """As the shell passes them on."""
    with pytest.raises(RecipeError, match=r"SBERT: expected text in Unicode, got 'push .* it'"):
        checked_texts("SBERT", [b"push \xff it".decode("utf-8", "surrogateescape")])


class Own:
    """An encoder of one's own: two texts to basis vectors, or to what is made of them."""

    dim = 2

    def __init__(self, change):
        self.change = change

    def prepare(self, texts):
        return self

    def __call__(self, texts):
        return self.change(torch.eye(2)[: len(texts)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.numpy(), r"a tensor, got ndarray; .* torch\.as_tensor"),
        (lambda rows: rows.tolist(), r"a tensor, got list"),
        (lambda rows: rows.double(), r"float32, got torch\.float64; .*\.float\(\)"),
        (lambda rows: rows.to("meta"), r"on the CPU, got some on meta; .*\.cpu\(\)"),
        (lambda rows: rows[:, :1], r"for each text, \[1, 2\], got \[1, 1\]; let dim say"),
        (lambda rows: rows[0], r"for each text, \[1, 2\], got \[2\]"),
        (lambda rows: rows[:0], r"for each text, \[1, 2\], got \[0, 2\]"),
        (lambda rows: rows * 0, r"rows of norm 1, got zeros for 'go'; raise a RecipeError"),
        (lambda rows: rows / 0, r"rows of norm 1, got NaN or infinity for 'go'; raise a Recip"),
        (lambda rows: rows * 7, r"rows of norm 1, got norm 7 for 'go'; .*normalize\(rows"),
        (lambda rows: rows * 1.001, r"rows of norm 1, got norm 1\.001 for 'go'"),
    ],
)
def test_embeddings_that_are_none_name_their_encoder(change, message):
    told = rf"^encoder Own \(of {__name__}\): __call__: expected .*{message}"
    with pytest.raises(PluginError, match=told):
        checked_embeddings(Own(change), ["go"])
    with pytest.raises(PluginError, match=told):
        TextEncoder(Own(change))(TensorDict(text="go"))


def test_embeddings_of_an_encoder_are_taken_as_they_are():
    encoder = RandomEncoder(16)
    assert torch.equal(checked_embeddings(encoder, TEXTS), encoder(TEXTS))
    assert checked_embeddings(encoder, []).shape == (0, 16)
    trained = checked_embeddings(Own(lambda rows: rows.requires_grad_()), ["go"])
    assert not trained.requires_grad
    with pytest.raises(PluginError, match=r"encoder Own .* raised ZeroDivisionError"):
        checked_embeddings(Own(lambda rows: 1 / 0), ["go"])
    with pytest.raises(RecipeError, match=r"^RandomEncoder: expected a text that describes"):
        checked_embeddings(encoder, ["?"])
