"""What is compared with what: variants, baselines, protocols, and what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cotasp.errors import RecipeError
from cotasp.report.axes import sweep_axes
from cotasp.report.charts import aggregates
from cotasp.report.compare import comparison, comparison_table
from cotasp.report.differences import differences, variant_names
from cotasp.report.results import paired, result_table, task_table
from cotasp.report.runs import Sweep
from cotasp.report.writing import all_tables
from tests.report.synthetic import RULES, make_run, make_runs, recipe, study


def test_runs_are_grouped_by_recipe_and_named_by_what_differs(runs):
    found = study(runs)
    assert [v.name for v in found.variants] == [
        "update=anchored", "update=frozen", "update=online",
    ]  # fmt: skip
    assert all(v.seeds == [0, 1, 2, 3, 4] for v in found.variants)
    assert dict(found.differences) == {"dictionary.update": ["anchored", "frozen", "online"]}
    assert not found.baseline


def test_scores_are_those_of_the_summaries(runs):
    (variant,) = study(runs / "a").variants
    summaries = [
        json.loads((runs / "a" / f"seed{i}" / "summary.json").read_text()) for i in range(5)
    ]
    assert variant.scores("performance").mean(1) == pytest.approx(
        [s["performance"] for s in summaries]
    )
    assert variant.scores("forgetting").mean(1) == pytest.approx(
        [s["forgetting"] for s in summaries], abs=1e-6
    )
    steps = [s["per_task"]["steps_to_threshold"] for s in summaries]
    assert variant.scores("steps_to_threshold").tolist() == steps
    assert np.isnan(variant.scores("forward_transfer")).all()


def test_the_baseline_comes_first_and_improvement_is_over_it(runs):
    found = study(runs, baseline="update=frozen")
    assert found.variants[0].name == "update=frozen"
    table = result_table(found)
    better = table.columns.index("P(better)")
    values = {row[0].text: row[better].text for row in table.rows}
    assert values == {
        "update=frozen": "-", "update=anchored": "1.00 [1.00, 1.00]",
        "update=online": values["update=online"],
    }  # fmt: skip
    with pytest.raises(RecipeError, match="Did you mean 'update=frozen'"):
        study(runs, baseline="update=frosen")


def test_fields_tell_apart_what_has_one_name():
    recipes = [
        {"seed": 0, "mask": {"name": "topk", "k": 3}, "u": {"name": "lazy", "every": 2}},
        {"seed": 1, "mask": {"name": "topk", "k": 9}, "u": {"name": "lazy", "every": 3}},
        {"seed": 2, "mask": {"name": "topk", "k": 9}, "u": {"name": "online"}},
    ]
    assert differences(recipes) == {
        "mask.k": ["3", "9", "9"],
        "u": ["lazy {every: 2}", "lazy {every: 3}", "online"],
    }
    assert variant_names(recipes)[1] == "k=9, u=lazy {every: 3}"
    assert variant_names(recipes[:1]) == ["all runs"]


def test_protocols_are_not_mixed_unasked_and_then_marked(runs, tmp_path):
    make_run(tmp_path / "other", recipe(3, 7), 0)
    with pytest.raises(RecipeError) as caught:
        study(runs, tmp_path / "other")
    assert "2 protocols that differ in steps_per_task" in str(caught.value)
    assert "--mix-protocols" in str(caught.value)
    found = study(runs, tmp_path / "other", mix_protocols=True)
    assert found.mixed
    assert all("[protocol " in variant.name for variant in found.variants)
    for table in all_tables(found)[1:]:
        assert any("PROTOCOLS ARE MIXED" in note for note in table.notes)


def test_each_row_tells_its_own_threshold_where_protocols_differ_in_it(tmp_path):
    make_run(tmp_path / "high", recipe())
    make_run(tmp_path / "low", recipe(overrides=("evaluation.threshold=0.5",)))
    assert task_table(study(tmp_path / "low")).columns[-2:] == ("G to 0.5", "reached")
    table = task_table(study(tmp_path, mix_protocols=True))
    assert table.columns[-3:] == ("threshold", "G", "reached")
    assert {len(row) for row in table.rows} == {len(table.columns)}
    for row in table.rows:
        (variant,) = [
            v for v in study(tmp_path, mix_protocols=True).variants if v.name == row[0].text
        ]
        assert row[-3].value == variant.stamp["threshold"]


def test_nothing_at_all_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"found no finished run; .*holds no run directory"):
        study(tmp_path)


def test_one_seed_has_no_interval_and_the_report_says_why(tmp_path):
    make_runs(tmp_path, RULES, [3])
    found = study(tmp_path)
    table = result_table(found)
    assert not any("[" in cell.text for row in table.rows for cell in row)
    assert any(p.startswith("One seed only, so no interval") for p in found.problems)


@pytest.mark.parametrize("place", ["summary.json", "protocol.json"])
def test_runs_that_begin_with_another_runs_tasks_are_a_variant_of_their_own(place, runs):
    for seed in (5, 6):
        path = make_run(runs / "branched" / f"seed{seed}", recipe(overrides=RULES["a"][0]), seed)
        file = path / place
        facts = json.loads(file.read_text()) if file.exists() else {}
        begun = {"run": f"runs/a/seed{seed}@2", "content": str(seed)}
        file.write_text(json.dumps({**facts, "begun_from": begun}))
    found = study(runs)
    branched = [v for v in found.variants if v.seeds == [5, 6]]
    assert [v.name for v in branched] == ["update=anchored [begun after @2]"]
    assert len(found.variants) == 4
    assert found.differences["begun_after"].count("@2") == 1
    assert any(p.startswith(f"{branched[0].name}: these runs begin with") for p in found.problems)
    singles(runs / "single", RULES["a"][0])
    assert next(v for v in study(runs).variants if v.seeds == [5, 6]).singles


def test_runs_begun_from_different_recipes_are_different_variants(tmp_path):
    begun = {
        0: {"run": "a/seed0@right", "recipe": "aaaaaaaaaaaa", "finished": 1},
        1: {"run": "a/seed1@1", "recipe": "aaaaaaaaaaaa", "finished": 1},
        2: {"run": "b/seed2@1", "recipe": "bbbbbbbbbbbb", "finished": 1},
    }
    for seed, source in begun.items():
        rewrite(make_run(tmp_path / str(seed), recipe(), seed), begun_from=source)
    assert {v.name: v.seeds for v in study(tmp_path).variants} == {
        "all runs [begun after @1 of aaaaaaaaaaaa]": [0, 1],
        "all runs [begun after @1 of bbbbbbbbbbbb]": [2],
    }
    for seed, source in begun.items():  # as earlier runs noted it: a task, named or counted
        rewrite(tmp_path / str(seed), begun_from={"run": source["run"]})
    assert [v.seeds for v in study(tmp_path).variants] == [[0, 1, 2]]


def test_the_same_run_twice_counts_once(runs):
    shutil.copytree(runs / "a" / "seed0", runs / "copy")
    found = study(runs, runs / "a")
    assert [len(v.runs) for v in found.variants] == [5, 5, 5]
    assert any("the same recipe and seed" in p for p in found.problems)


def test_missing_trials_of_a_sweep_are_named(runs):
    trials = {
        name: {str(seed): f"{folder}/seed{seed}" for seed in range(6)}
        for name, folder in (("rule=anchored", "a"), ("rule=frozen", "f"))
    }
    singles(runs / "single", RULES["f"][0])
    trials |= {f"single/{goal}": {"1": f"single/{goal}"} for goal in ("left", "bottom")}
    sweep = {"question": "Which?", "baseline": "rule=frozen", "trials": trials}
    (runs / "sweep.json").write_text(json.dumps(sweep))
    found = study(runs, runs)  # given twice, told once
    assert found.question == "Which?"
    assert [v.name for v in found.variants] == ["rule=frozen", "rule=anchored", "update=online"]
    absent = [p for p in found.problems if "no finished run" in p]
    assert absent == [
        "rule=anchored: no finished run of seed 5.", "rule=frozen: no finished run of seed 5.",
        "single/bottom: no finished run of seed 1.",
    ]  # fmt: skip


# -- forward transfer ------------------------------------------------------------------------


def singles(folder: Path, overrides: tuple[str, ...] = (), skill: float = 0.4) -> None:
    for goal in ("right", "left", "top"):
        alone = recipe(3, 5, (*overrides, f"stream.goals=[{goal}]"))
        make_run(folder / goal, alone, 0, skill)


def test_single_tasks_of_the_recipe_give_forward_transfer(runs):
    singles(runs / "single", RULES["a"][0])
    found = study(runs)
    (variant,) = [v for v in found.variants if v.name == "update=anchored"]
    run = json.loads((runs / "a" / "seed2" / "summary.json").read_text())
    expected = []
    for task, auc in zip(run["tasks"], run["per_task"]["area_under_curve"]):
        alone = json.loads((runs / "single" / task / "summary.json").read_text())
        b = alone["area_under_curve"]
        expected.append((auc - b) / (1 - b))
    assert variant.scores("forward_transfer")[2] == pytest.approx(expected)
    assert all(v is variant or not v.singles for v in found.variants)


def test_the_baselines_single_tasks_serve_all(runs):
    singles(runs / "single", RULES["f"][0])
    found = study(runs, baseline="update=frozen")
    assert all(v.singles for v in found.variants)
    assert not any("forward transfer" in p for p in found.problems)


def test_one_column_of_forward_transfer_is_against_one_recipe_and_says_which(runs):
    """The baseline's, though another has single-task runs of its own, which are much better."""
    singles(runs / "single", RULES["f"][0], 0.2)
    singles(runs / "other", RULES["a"][0], 0.9)
    make_run(runs / "single" / "again", recipe(3, 5, (*RULES["f"][0], "stream.goals=[left]")), 1)
    found = study(runs, baseline="update=frozen")
    assert {tuple(v.singles.items()) for v in found.variants} == {
        tuple(found.variants[0].singles.items())
    }
    (note,) = [note for note in result_table(found).notes if note.startswith("FT against")]
    assert "single-task runs of update=frozen, 1 to 2 seeds, taken as exact" in note
    assert "†" not in result_table(found).markdown()


def test_rows_against_other_single_tasks_are_marked_and_never_subtracted(runs):
    singles(runs / "single", RULES["f"][0], 0.2)
    singles(runs / "other", RULES["a"][0], 0.9)
    for run in (runs / "o").iterdir():
        rewrite(run, baseline=[0.5, 0.25, 0.0])
    found = study(runs)  # no baseline: each its own
    columns = result_table(found).columns
    told = {row[0].text: row[columns.index("FT")].text for row in result_table(found).rows}
    marks = {name: text[len(text.rstrip("†")) :] for name, text in told.items()}
    assert marks == {"update=anchored": "", "update=frozen": "†", "update=online": "††"}
    notes = [note for note in result_table(found).notes if note.startswith("FT†")]
    assert "single-task runs of update=frozen, 1 seed" in notes[0]
    assert "kept, 0.5, 0.25, 0, taken as exact" in notes[1]
    assert all("not to be compared" in note for note in notes)
    first, second = found.variants[:2]
    assert paired(found, first, second, "forward_transfer") is None
    assert paired(found, first, second, "performance") is not None
    assert all(note in aggregates(found).text for note in notes)


def test_a_comparison_measures_both_sides_against_the_firsts_single_tasks(runs):
    singles(runs / "f" / "single", RULES["f"][0], 0.2)
    singles(runs / "a" / "single", RULES["a"][0], 0.9)
    found = comparison(runs / "f", runs / "a")
    assert [v.name for v in found.variants] == ["update=frozen", "update=anchored"]
    assert found.variants[0].singles == found.variants[1].singles
    assert any("of update=frozen, 1 seed" in note for note in comparison_table(found).notes)


def test_the_same_single_task_run_twice_counts_once(runs):
    singles(runs / "single", RULES["f"][0])
    before = study(runs, baseline="update=frozen").variants[0]
    make_run(runs / "more", recipe(3, 5, (*RULES["f"][0], "stream.goals=[left]")), 1, 0.9)
    with_more = study(runs, baseline="update=frozen").variants[0]
    shutil.copytree(runs / "single" / "left", runs / "copy")
    found = study(runs, baseline="update=frozen")
    assert before.singles["left"] != with_more.singles["left"]
    assert found.variants[0].singles == with_more.singles
    assert sum("the same recipe and seed" in problem for problem in found.problems) == 1


def test_single_tasks_of_another_protocol_or_too_few_are_not_used(runs):
    for goal in ("right", "left", "top"):
        alone = recipe(3, 7, (*RULES["a"][0], f"stream.goals=[{goal}]"))
        make_run(runs / "single" / goal, alone, 0)
    assert not any(v.singles for v in study(runs).variants)
    shutil.rmtree(runs / "single")
    singles(runs / "single", RULES["a"][0])
    shutil.rmtree(runs / "single" / "left")
    found = study(runs)
    assert not any(v.singles for v in found.variants)
    assert any("No forward transfer" in p for p in found.problems)


def rewrite(run: Path, **changes) -> None:
    """Changes a summary."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, **changes}))


def test_a_task_that_one_variant_lacks_is_left_out_of_all_means_and_named(runs):
    """Else two means over different tasks would stand in one column."""
    run = runs / "a" / "seed3"
    success = json.loads((run / "summary.json").read_text())["success"]
    rewrite(run, success=[success[0], [*success[1][:-1], None], success[2]])
    singles(runs / "single", RULES["f"][0])
    rewrite(runs / "single" / "top", success=[[1.0] * 5])
    found = study(runs, baseline="update=frozen")
    for metric, kept in (("performance", [0, 2]), ("forward_transfer", [0, 1])):
        for variant in found.variants:
            expected = variant.scores(metric)[:, kept]
            assert found.scores(variant, metric).tolist() == expected.tolist()
    notes = result_table(found).notes
    assert "P over 2 of 3 tasks: a seed of some variant has no value of left." in notes
    (note,) = [note for note in notes if note.startswith("FT over 2 of 3 tasks")]
    assert note.endswith("or AUC^b = 1, of top.")
    compared_notes = comparison_table(comparison(runs / "f", runs / "a")).notes
    assert any(note.startswith("P over 2 of 3 tasks") for note in compared_notes)


def test_two_sweeps_name_their_variants_by_what_differs_where_a_name_is_in_both(tmp_path):
    """Each of one variant, `all`; and one more of the second, which no other is called."""
    for sweep, update in {"one": "a", "two": "f"}.items():
        make_runs(tmp_path / sweep, {"all": RULES[update]}, [0])
        trials = {"all": {"0": "all/seed0"}}
        if sweep == "two":
            make_runs(tmp_path / sweep, {"more": RULES["o"]}, [0])
            trials["more"] = {"0": "more/seed0"}
        facts = {"trials": trials, "baseline": "all"}
        (tmp_path / sweep / "sweep.json").write_text(json.dumps(facts))
    found = study(tmp_path / "two", tmp_path / "one")
    assert [v.name for v in found.variants] == ["update=frozen", "more", "update=anchored"]
    assert found.baseline  # that of the first that is given
    with pytest.raises(RecipeError, match=r"no variant 'all'.*update=anchored"):
        study(tmp_path / "one", tmp_path / "two", baseline="all")
    assert study(tmp_path / "one").variants[0].name == "all"


def test_a_directory_of_two_sweeps_has_no_axes_that_all_variants_share():
    axes = {"a": {"update": "online"}, "b": {"update": "frozen"}, "c": {"mask": "topk"}}
    sweep = Sweep(Path("out"), "", None, {}, axes)
    assert sweep_axes(["a", "b"], [sweep]) == {"update": ["online", "frozen"]}
    assert sweep_axes(["a", "c"], [sweep]) == sweep_axes(["c", "a"], [sweep]) == {}
    assert sweep_axes(["a", "d"], [sweep]) == {}
