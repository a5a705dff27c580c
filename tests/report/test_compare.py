"""Two variants side by side, and what may be said of them."""

from __future__ import annotations

import pytest

from cotasp.errors import RecipeError
from cotasp.report.compare import comparison, comparison_table
from tests.report.synthetic import RULES, make_run, make_runs, recipe


def test_a_verdict_is_given_where_the_interval_allows_it(runs):
    table = comparison_table(comparison(runs / "f", runs / "a"))
    verdicts = {row[0].text: row[-1].text for row in table.rows}
    assert verdicts["P"] == verdicts["P(better)"] == "B is better"
    assert verdicts["F"] == "no difference shown"
    assert verdicts["FT"] == "-"
    back = comparison_table(comparison(runs / "a", runs / "f"))
    assert {row[0].text: row[-1].text for row in back.rows}["P"] == "B is worse"


def test_three_seeds_give_no_verdict(tmp_path):
    make_runs(tmp_path, RULES, range(3))
    table = comparison_table(comparison(tmp_path / "f", tmp_path / "a"))
    assert {row[-1].text for row in table.rows} == {"too few seeds to say", "-"}


def test_single_tasks_are_not_compared_with_streams(runs, tmp_path):
    alone = make_run(tmp_path / "alone", recipe(tasks=1))
    for pair in ((runs / "a", alone), (alone, runs / "a")):
        with pytest.raises(RecipeError, match="one has runs of single tasks, the other of several"):
            comparison(*pair)


def test_only_one_recipe_on_each_side_can_be_compared(runs, tmp_path):
    (tmp_path / "none").mkdir()
    for first, second, message in (
        (runs, runs / "a", "found 3 recipes"),
        (runs / "a", tmp_path / "none", "found no finished run"),
        (runs / "a", runs / "a", "nothing differs"),
    ):
        with pytest.raises(RecipeError, match=message):
            comparison(first, second)
