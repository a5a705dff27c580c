"""From text to action in one TensorDictSequential, and what a task's end teaches."""

from __future__ import annotations

import pytest
import torch
from tensordict import NonTensorStack, TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.envs.utils import ExplorationType, set_exploration_type

from cotasp.dictionaries import Anchored, Frozen, sparse_encode
from cotasp.errors import PluginError, RecipeError
from cotasp.modules import LayerMasks, MetaPolicy, Step
from cotasp.modules.tensordict import squashed_gaussian_head
from cotasp.prompting import OneHot, Prompter, RandomEncoder, SparseCoding, TextEncoder
from cotasp.prompting.tensordict import prompt_module

HIDDEN = (40, 30)


def prompter(**coding) -> Prompter:
    return Prompter(SparseCoding(**{"lmbda": 0.1, **coding}), HIDDEN, n_features=12, seed=3)


def test_codes_are_each_layers_lasso_side_by_side():
    made = prompter()
    e = RandomEncoder(dim=12)(["a", "b"])
    code = made(e)
    assert code.shape == (2, sum(HIDDEN))
    assert code.dtype == torch.float32
    for dictionary, layer in zip(made.dictionaries, code.split(HIDDEN, -1)):
        expected = sparse_encode(e.double(), dictionary.atoms, lmbda=0.1, solver="cd").code
        torch.testing.assert_close(layer, expected.float(), rtol=1e-4, atol=1e-6)
        assert torch.equal(layer == 0, expected == 0)
    assert torch.equal(made(e[0]), code[0])


def test_layers_and_seeds_have_dictionaries_of_their_own():
    a, b = prompter(), Prompter(SparseCoding(), HIDDEN, n_features=12, seed=4)
    assert not torch.equal(a.dictionaries[0].atoms[:30], a.dictionaries[1].atoms)
    assert not torch.equal(a.dictionaries[0].atoms, b.dictionaries[0].atoms)


def test_text_to_action_is_one_sequence():
    encoder = OneHot(dim=12).prepare(["go left", "go right"])
    made, policy = prompter(), MetaPolicy(5, 2, HIDDEN, head_scale=1.0)
    line = TensorDictSequential(
        TextEncoder(encoder),
        prompt_module(made),
        TensorDictModule(LayerMasks(Step(), HIDDEN), ["code"], ["mask"]),
        TensorDictModule(policy, ["observation", "mask"], ["loc", "scale"]),
        squashed_gaussian_head(),
    )
    observation = torch.randn(2, 5)
    texts = ["go left", "go right"]
    data = TensorDict({"observation": observation, "text": NonTensorStack(*texts)}, [2])
    with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
        action = line(data)["action"]
        mask = (made(encoder(texts)) > 0).float()
        expected = torch.tanh(policy(observation, mask)[0])
    torch.testing.assert_close(action, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(mask[0], mask[1])


def test_anchored_dictionaries_give_back_the_prompt_a_task_ended_with():
    made, e = prompter(update=Anchored()), RandomEncoder(dim=12)(["a", "b", "c"])
    ended = []
    for embedding in e:
        code = made(embedding)
        on = (code > 0).nonzero().squeeze(-1)
        code[on[::5]] = -0.01  # training switched some neurons off
        report = made.end_task(embedding, code)
        ended.append(code > 0)
        assert {name.split("/")[0] for name in report} == {"layer1", "layer2"}
    recalled = made(e) > 0
    overlap = [(r & k).sum() / (r | k).sum() for r, k in zip(recalled, ended)]
    assert min(overlap) >= 0.95


def test_the_prompter_survives_a_checkpoint():
    made, e = prompter(update=Frozen()), RandomEncoder(dim=12)(["a"])[0]
    made.end_task(e, made(e))
    copy = Prompter(made.coding, HIDDEN, n_features=12, seed=99)
    copy.load_state_dict(made.state_dict())
    assert torch.equal(copy(e), made(e))
    assert torch.equal(copy.dictionaries[0].codes, made.dictionaries[0].codes)


def test_an_error_of_an_update_rule_names_it():
    def forgetful(dictionary, embedding, code, *, lmbda):
        raise ZeroDivisionError("no statistics")

    made, e = prompter(update=forgetful), RandomEncoder(dim=12)(["a"])[0]
    with pytest.raises(PluginError, match=r"^update rule function .* ZeroDivisionError: no stat"):
        made.end_task(e, made(e))


def recorded(change):
    """An update rule that records the pair, and then does what it is told to the dictionary."""

    def rule(dictionary, embedding, code, *, lmbda):
        dictionary.record(embedding, code)
        change(dictionary)

    return rule


def uncounted(dictionary, embedding, code, *, lmbda):
    dictionary.n_recorded += 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (uncounted, r"one that has not; call dictionary\.record"),
        (lambda dictionary, *pair, lmbda: None, r"one that has not; call dictionary\.record"),
        (recorded(lambda d: d.atoms.mul_(100)), r"an atom of norm \d+ where max_norm is 1; .*proj"),
        (recorded(lambda d: d.atoms.div_(0)), r"atoms that are NaN or infinite"),
        (recorded(lambda d: d.B.div_(0)), r"B that are NaN or infinite"),
        (
            recorded(lambda d: setattr(d, "atoms", d.atoms[:-1])),
            r"atoms of another kind, \[39, 12\] of torch\.float64; write with dictionary\.atoms\.c",
        ),
        (
            recorded(lambda d: setattr(d, "atoms", d.atoms.float())),
            r"atoms of another kind, \[40, 12\] of torch\.float32",
        ),
        (recorded(lambda d: setattr(d, "atoms", d.atoms.to("meta"))), r"atoms on meta; write"),
        (recorded(lambda d: setattr(d, "atoms", None)), r"atoms of another kind, none"),
        (
            recorded(lambda d: setattr(d, "codes", d.codes[:, :-1])),
            r"codes of another kind, \[1, 39",
        ),
        (recorded(lambda d: setattr(d, "embeddings", d.embeddings[:0])), r"one that has not"),
    ],
)
def test_an_update_rule_that_leaves_no_dictionary_is_named(rule, message):
    made, e = prompter(update=rule), RandomEncoder(dim=12)(["a"])[0]
    told = (
        rf"^update rule function .* expected a dictionary that has recorded the pair, got {message}"
    )
    with pytest.raises(PluginError, match=told):
        made.end_task(e, made(e))


def test_a_code_of_another_size_is_refused():
    made, e = prompter(), RandomEncoder(dim=12)(["a"])[0]
    told = r"^Prompter\.end_task\.code: expected a tensor of shape \[70\], got "
    for code, got in ((made(e)[1:], r"\[69\]"), (made(e)[None], r"\[1, 70\]"), ([0.0], "list")):
        with pytest.raises(RecipeError, match=told + got):
            made.end_task(e, code)


def test_a_weight_of_zero_is_refused_and_not_replaced():
    made = prompter()
    with pytest.raises(RecipeError, match=r"lmbda: expected a finite number > 0, got 0\.0"):
        made(torch.ones(1, 12), 0.0)
