"""Works that run by turns in one process."""

from __future__ import annotations

import random
import weakref

import numpy as np
import pytest
import torch

from cotasp.continual.lockstep import in_lockstep


def draws(seed: int, meet=lambda number: number, rounds: int = 3) -> list[float]:
    """Numbers from every global generator, drawn on both sides of a meeting."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    found = []
    for _ in range(rounds):
        found += [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002
        found.append(meet(found[-1]))
    return found


def test_each_work_has_its_own_random_numbers():
    works = [lambda meet, seed=seed: draws(seed, meet) for seed in range(3)]
    assert in_lockstep(works, lambda numbers: numbers) == [draws(seed) for seed in range(3)]


def test_one_works_at_a_time_and_all_meet_before_an_answer():
    order: list[str] = []

    def work(name: str, meet) -> str:
        for n in range(2):
            order.append(f"{name}{n} begins")
            order.append(f"{name}{n} waits")
            assert meet(name, n) == f"{name}{n} of ab"
        return name

    def together(names, numbers):
        order.append("together")
        return [f"{name}{n} of {''.join(names)}" for name, n in zip(names, numbers)]

    ended = in_lockstep([lambda m: work("a", m), lambda m: work("b", m)], together)
    assert ended == ["a", "b"]
    one_round = ["{0} begins", "{0} waits", "{1} begins", "{1} waits", "together"]
    assert order == [x.format(f"a{n}", f"b{n}") for n in range(2) for x in one_round]


def test_an_error_of_what_is_computed_together_is_raised_in_all_that_wait():
    closed = []

    def work(name: str, meet) -> None:
        try:
            meet(name)
        finally:
            closed.append(name)

    def together(names):
        raise MemoryError(f"of {len(names)}")

    ended = in_lockstep([lambda m, n=n: work(n, m) for n in "ab"], together)
    assert [str(error) for error in ended] == ["of 2", "of 2"]
    assert closed == ["a", "b"]


def test_who_asks_for_nothing_waits_all_the_same():
    order: list[str] = []

    def work(name: str, meet) -> None:
        assert meet(name) == name.upper()
        order.append(f"{name} waits")
        assert meet() is None
        order.append(f"{name} goes on")
        if name == "a":
            assert meet(name) == "A"

    def together(names):
        return [name.upper() for name in names]

    ended = in_lockstep([lambda m, n=n: work(n, m) for n in "ab"], together)
    assert ended == [None, None]
    assert order == ["a waits", "b waits", "a goes on", "b goes on"]


def test_an_error_of_what_is_computed_together_spares_who_asked_for_nothing():
    def together(names):
        raise MemoryError(*names)

    works = [lambda meet: meet("a"), lambda meet: meet()]
    error, nothing = in_lockstep(works, together)
    assert str(error) == "a"
    assert nothing is None


def test_the_callers_random_numbers_are_left_as_they_were():
    torch.manual_seed(3)
    expected = float(torch.rand(()))
    torch.manual_seed(3)
    in_lockstep([lambda meet: draws(0, meet)], lambda numbers: numbers)
    assert float(torch.rand(())) == expected


def test_a_work_that_failed_is_let_go():
    class Large:
        pass

    held = []

    def work(meet):
        large = Large()
        held.append(weakref.ref(large))
        raise ValueError("gone")

    (error,) = in_lockstep([work], lambda: ())
    assert str(error) == "gone"
    assert held[0]() is None


def test_works_may_end_early_or_fail():
    def work(rounds: int, meet) -> int:
        for n in range(rounds):
            meet(n)
        if rounds == 2:
            raise ValueError("two")
        return rounds

    met = []
    works = [lambda meet, rounds=rounds: work(rounds, meet) for rounds in (0, 1, 2, 3)]
    ended = in_lockstep(works, lambda numbers: met.append(numbers) or numbers)
    assert [e for e in ended if not isinstance(e, ValueError)] == [0, 1, 3]
    with pytest.raises(ValueError, match="two"):
        raise ended[2]
    assert met == [[0, 0, 0], [1, 1], [2]]
