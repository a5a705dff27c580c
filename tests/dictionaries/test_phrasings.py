"""Phrasings of a task: the anchored update leads them all to the task's one mask."""

from __future__ import annotations

import pytest
import torch

from cotasp.dictionaries import Anchored, Dictionary, Frozen, Online, sparse_encode
from cotasp.errors import ConvergenceWarning, RecipeError

LMBDA = 0.1


def phrased_tasks(n_tasks: int = 4, n_phrasings: int = 4, m: int = 64) -> torch.Tensor:
    """Embeddings [tasks, phrasings, m], of cosine about 0.7 within a task."""
    generator = torch.Generator().manual_seed(0)
    tasks = torch.randn(n_tasks, 1, m, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_tasks, n_phrasings, m, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(tasks + 0.6 * noise, dim=-1)


def taught(rule, tasks: torch.Tensor) -> tuple[Dictionary, torch.Tensor]:
    """The dictionary after all tasks, and the masks they ended with."""
    dictionary, masks = Dictionary(n_components=160, n_features=tasks.shape[-1]), []
    for embeddings in tasks:
        code = sparse_encode(embeddings[:1], dictionary.atoms, lmbda=LMBDA).code[0]
        code[(code > 0).nonzero()[0]] = 0.0  # training switched a neuron off
        masks.append(code > 0)
        rule(dictionary, embeddings, code, lmbda=LMBDA)
    return dictionary, torch.stack(masks)


def test_every_taught_phrasing_leads_to_the_tasks_mask():
    tasks = phrased_tasks()
    dictionary, masks = taught(Anchored(), tasks)
    codes = sparse_encode(tasks.flatten(0, 1), dictionary.atoms, lmbda=LMBDA).code
    assert torch.equal((codes > 0).reshape(*tasks.shape[:2], -1), masks[:, None].expand(-1, 4, -1))
    before, _ = taught(Frozen(), tasks)  # the control: other phrasings lead elsewhere by themselves
    codes = sparse_encode(tasks.flatten(0, 1), before.atoms, lmbda=LMBDA).code
    assert not torch.equal((codes > 0)[1], masks[0])


def test_a_phrasing_that_contradicts_another_task_costs_itself_alone():
    """Here a phrasing of the third task is nearly one of the first, whose mask is another."""
    tasks = phrased_tasks(5)
    tasks[2, 3] = torch.nn.functional.normalize(tasks[0, 1] + 1e-3 * tasks[2, 3], dim=0)
    with pytest.warns(ConvergenceWarning) as caught:
        dictionary, masks = taught(Anchored(), tasks)
    told = [str(warning.message) for warning in caught]
    assert [text.split(" remembered")[0] for text in told] == [
        f"Anchored: 1 of {4 * done}" for done in (3, 4, 5)
    ]
    codes = sparse_encode(tasks.flatten(0, 1), dictionary.atoms, lmbda=LMBDA).code
    right = ((codes > 0).reshape(5, 4, -1) == masks[:, None]).all(dim=-1)
    assert right.flatten().nonzero().flatten().tolist() == [i for i in range(20) if i != 11]


def test_the_tasks_own_text_keeps_its_trained_code():
    tasks = phrased_tasks(1)
    dictionary, _ = taught(Anchored(codes="trained"), tasks)
    code = sparse_encode(tasks[0, :1], Dictionary(160, 64).atoms, lmbda=LMBDA).code[0]
    code[(code > 0).nonzero()[0]] = 0.0
    assert torch.equal(dictionary.codes[0], code)
    assert torch.equal(dictionary.embeddings, tasks[0])
    assert int(dictionary.n_recorded) == 1


@pytest.mark.parametrize("rule", [Online(), Frozen(), Anchored()])
def test_one_phrasing_is_the_text_alone(rule):
    tasks = phrased_tasks(2, 1)
    one, _ = taught(rule, tasks)
    other, _ = taught(rule, tasks[:, 0][:, None])
    alone = Dictionary(n_components=160, n_features=64)
    for embedding in tasks[:, 0]:
        code = sparse_encode(embedding[None], alone.atoms, lmbda=LMBDA).code[0]
        code[(code > 0).nonzero()[0]] = 0.0
        rule(alone, embedding, code, lmbda=LMBDA)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
        assert torch.equal(value, alone.state_dict()[name]), name


def test_statistics_of_phrasings_are_those_of_their_mean():
    tasks = phrased_tasks(1)
    dictionary, _ = taught(Frozen(), tasks)
    torch.testing.assert_close(dictionary.B, tasks[0].mean(0)[:, None] * dictionary.codes[0])


def test_a_code_for_each_phrasing_must_fit():
    dictionary = Dictionary(n_components=8, n_features=4)
    with pytest.raises(RecipeError, match=r"code: expected shape \[3, 8\], got \[2, 8\]"):
        dictionary.record(torch.zeros(3, 4), torch.zeros(2, 8))
