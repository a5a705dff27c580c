"""A run from recipe to summary on the toy stream, and what happens when something is wrong."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

import cotasp
from cotasp.continual.evaluation import Evaluator, judged
from cotasp.continual.loop import run
from cotasp.continual.opened import open_run
from cotasp.continual.protocol import protocol_stamp
from cotasp.continual.saved import baseline_auc, load_run
from cotasp.continual.setup import make_learner, make_tasks
from cotasp.errors import PluginError, RecipeError, RunError
from cotasp.methods.prompts import Prompts
from cotasp.prompting.encoders import RandomEncoder
from cotasp.recipe import Recipe, dump, load, loads
from cotasp.storage.checkpoints import Checkpoints
from cotasp.tasks.point import PointEnv
from cotasp.tasks.point_streams import Point

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = """
stream: {name: point, goals: [right, left], horizon: 10}
steps_per_task: 100
frames_per_batch: 10
encoder: {name: random, dim: 16}
dictionary: {lmbda: 0.05}
actor: {hidden: [24, 20]}
agent: {critic: {hidden: [8, 8]}, batch_size: 8, warmup_steps: 20, distillation_updates: 3,
        theta_updates: 8, code_updates: 2, buffer_size: 1000}
evaluation: {every: 50, episodes: 3, average: 1}
"""


SUCCESS = "evaluation/success"


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tiny(*overrides: str) -> Recipe:
    return loads(TINY, overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return out, run(tiny("evaluation.schedule=full"), out, progress=False)


class Faulty:
    """An encoder whose rows are no unit vectors: a multiple of those of another."""

    dim = 16

    def __init__(self, factor):
        self.factor = factor

    def prepare(self, texts):
        return self

    def __call__(self, texts):
        return self.factor * RandomEncoder(16)(texts)


@pytest.mark.parametrize("factor", [0.0, 7.0, math.nan])
@pytest.mark.parametrize("override", ["task_input=none", "task_input=text"])
def test_an_encoder_that_breaks_its_contract_is_named(factor, override):
    recipe = replace(tiny(override), encoder=Faulty(factor))
    with pytest.raises(RecipeError, match=r"^recipe\.encoder: encoder Faulty .* rows of norm 1"):
        make_learner(recipe, make_tasks(recipe))
    recipe = tiny(override)
    method = replace(recipe.method, encoder=Faulty(factor))
    with pytest.raises(PluginError, match=r"^encoder Faulty .* rows of norm 1, got"):
        Prompts(method, ["Go right."])


class TestRunDirectory:
    def test_holds_recipe_stamp_summary_curves_and_checkpoints(self, finished):
        out, summary = finished
        assert load(out / "recipe.yaml") == tiny("evaluation.schedule=full")
        assert json.loads((out / "summary.json").read_text()) == summary
        stamp = json.loads((out / "protocol.json").read_text())
        assert stamp["hash"] == summary["protocol"]["hash"]
        assert stamp["versions"]["torch"].startswith(torch.__version__.split("+")[0])
        assert stamp["versions"]["cotasp"] == cotasp.__version__
        assert [p.name for p in Checkpoints(out).paths()] == ["task_01", "task_02"]
        names = [path.name for path in out.iterdir() if path.suffix == ".csv"]
        assert sorted(names) == ["episodes.csv", "metrics.csv", "timing.csv"]

    def test_metrics_are_one_table(self, finished):
        out, summary = finished
        table = read_csv(out / "metrics.csv")
        curve = [row for row in table if (row["task"], row["name"]) == ("right", SUCCESS)]
        assert [int(row["step"]) for row in curve] == [0, 50, 100, 100, 150, 200]
        assert [float(row["value"]) for row in curve] == pytest.approx(
            summary["success"][0], abs=1e-6
        )
        assert {row["task"] for row in table} == {"right", "left"}
        groups = {row["name"].partition("/")[0] for row in table}
        assert groups == {"evaluation", "facts"}  # and train, after 1,000 steps

    def test_every_episode_of_training_has_a_row(self, finished):
        out, summary = finished
        table = read_csv(out / "episodes.csv")
        assert [row["task"] for row in table] == ["right"] * 10 + ["left"] * 10
        assert [int(row["step"]) for row in table] == list(range(10, 201, 10))
        assert {row["length"] for row in table} == {"10"}
        assert {row["success"] for row in table} <= {"0.0", "1.0"}
        returns = [float(row["return"]) for row in table]
        assert sum(returns[:10]) / 10 == pytest.approx(summary["per_task"]["training_return"][0])

    def test_no_file_is_a_pickle(self, finished):
        out, _ = finished
        for path in out.rglob("*"):
            if path.is_file():
                assert path.suffix not in (".pt", ".pth", ".pkl"), path
                assert not path.read_bytes().startswith(b"\x80\x04"), path

    def test_summary_has_the_promised_keys_and_shapes(self, finished):
        _, summary = finished
        assert summary["tasks"] == ["right", "left"]
        assert [len(row) for row in summary["success"]] == [6, 6]
        for key in ("performance", "forgetting"):
            assert 0 <= abs(summary[key]) <= 1
        assert summary["forward_transfer"] is None
        assert len(summary["per_task"]["steps_to_threshold"]) == 2
        for matrix in ("success_last", "success_any", "episode_return"):
            assert [len(row) for row in summary[matrix]] == [6, 6]
        assert summary["mask_overlap"][0][0] == 1.0
        assert len(summary["capacity_used"]) == 2
        assert summary["protocol"]["formulas"]["performance"] == "P = mean_i p_i(end)"

    def test_summary_tells_what_each_task_did_to_the_dictionaries(self, finished):
        _, summary = finished
        for facts in summary["task_facts"].values():
            for name in ("change", "coherence", "recall", "kkt", "alignment", "unused"):
                assert f"dictionary/layer2/{name}" in facts
            assert 0 < facts["active/layer1"] < 1
            assert facts["dictionary/layer1/change"] > 0
        used = [summary["task_facts"][t]["owned/layer1"] for t in summary["tasks"]]
        assert used[0] <= used[1] == pytest.approx(summary["capacity_used"][0])

    def test_evaluate_finds_exactly_what_the_run_found(self, finished):
        out, summary = finished
        opened = open_run(out)
        scores = [opened.evaluate(task=name).score() for name in summary["tasks"]]
        assert [score.success for score in scores] == pytest.approx(
            [row[-1] for row in summary["success"]], abs=1e-6
        )

    def test_a_reloaded_run_still_protects(self, finished):
        out, _ = finished
        recipe, tasks, loaded = load_run(out)
        guard = recipe.protection.guard(loaded.actor.meta_policy, loaded.actor.ownership)
        assert guard is not None
        assert not guard["mean.weight"].all()
        fresh = make_learner(recipe, tasks)
        assert recipe.protection.guard(fresh.actor.meta_policy, fresh.actor.ownership) is None

    def test_an_existing_run_is_never_overwritten(self, finished):
        out, _ = finished
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        with pytest.raises(RunError, match=r"there is a run already; .*`cotasp resume .*--out"):
            run(tiny(), out, progress=False)
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_same_seed_same_run_other_seed_other_run(tmp_path):
    summaries = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(replace(tiny(), seed=seed), tmp_path / name, progress=False)
        _, _, learner = load_run(tmp_path / name)
        summaries.append(
            torch.cat([p.detach().flatten() for p in learner.actor.meta_policy.parameters()])
        )
    assert torch.equal(summaries[0], summaries[1])
    assert not torch.equal(summaries[0], summaries[2])


def test_metrics_only_evaluates_all_tasks_at_the_end_alone(tmp_path):
    summary = run(tiny("evaluation.average=2"), tmp_path / "run", progress=False)
    missing = [[value is None for value in row] for row in summary["success"]]
    assert missing == [[False] * 3 + [True, False, False], [True] * 3 + [False] * 3]


@pytest.mark.parametrize(
    "override",
    [
        "mask={name: topk, k: 5}",
        "mask={name: sigmoid, threshold: 1e-2}",
        "mask=random",
        "mask={name: step, gradient: identity}",
        "protection=none",
        "protection={name: ewc, weight: 10, samples: 4}",
        "agent.execution=dense",
        "agent.precision=bfloat16",
        "agent.warmup=uniform",
        "agent.values={carry: weights}",
        "dictionary.update=frozen",
        "dictionary.update={name: online, unused: keep}",
        "dictionary.update={name: lazy, every: 2}",
        "dictionary.solver=fista",
        "dictionary.solver=cd",
        "dictionary.init=svd",
        "encoder=onehot",
        "encoder=tfidf",
        "evaluation.mode=stochastic",
        "evaluation.success=any",
    ],
)
def test_every_choice_runs(override, tmp_path):
    summary = run(tiny(override), tmp_path / "run", progress=False)
    assert 0 <= summary["performance"] <= 1


def test_evaluation_repeats_itself_and_leaves_the_random_state_alone():
    recipe = tiny("evaluation.mode=stochastic")
    tasks = recipe.stream.make_tasks()
    torch.manual_seed(3)
    learner = make_learner(recipe, tasks)
    learner.start_task(0)
    evaluator = Evaluator(tasks, recipe.evaluation, seed=0, faults="stop")
    state = torch.get_rng_state()
    first = evaluator(0, learner.policy(0))
    assert torch.equal(torch.get_rng_state(), state)
    evaluator(1, learner.policy(1))
    assert evaluator(0, learner.policy(0)) == first


def test_success_rules():
    recipe = tiny()
    scores = {}
    data = TensorDict(  # two episodes: the second ends early, after succeeding on the way
        {
            "done": torch.tensor([[0, 0, 0, 1], [0, 1, 0, 0]]).bool()[..., None],
            "success": torch.tensor([[0, 1, 0, 1], [1, 0, 1, 1]]).bool()[..., None],
            "reward": torch.ones(2, 4, 1),
        },
        [2, 4],
    )
    for rule in ("last", "any"):
        scores[rule] = judged(data, recipe.stream.make_tasks()[0], rule, skips=False).score()
    assert scores["last"].success == 0.5
    assert scores["any"].success == 1.0
    assert scores["last"].episode_return == pytest.approx((4 + 2) / 2)
    assert scores["last"].episode_length == pytest.approx(3)


def test_tensorboard_gets_the_same_curves(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    summary = run(tiny("logger=tensorboard"), tmp_path / "run", progress=False)
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    curve = [event.value for event in events.Scalars("evaluation/right/success")]
    expected = [value for value in summary["success"][0] if value is not None]
    assert curve == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, in MLflow
def test_mlflow_gets_the_same_curves(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    summaries = [
        run(tiny("logger=mlflow", f"seed={i}"), tmp_path / f"run{i}", progress=False)
        for i in range(2)  # in one process
    ]
    for i, summary in enumerate(summaries):
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path / f'run{i}' / 'mlflow.db'}")
        (told,) = client.search_runs([client.get_experiment_by_name("cotasp").experiment_id])
        assert (told.info.run_name, told.info.status) == (f"run{i}", "FINISHED")
        curve = client.get_metric_history(told.info.run_id, "evaluation/right/success")
        expected = [value for value in summary["success"][0] if value is not None]
        assert [point.value for point in curve] == pytest.approx(expected, abs=1e-5)


def test_a_logger_that_is_not_installed_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr("cotasp.continual.machine.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"recipe.logger: wandb is not installed"):
        run(tiny("logger=wandb"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_baselines(tmp_path):
    single = tiny("stream.goals=[left]")
    run(single, tmp_path / "single", progress=False)
    stamp = protocol_stamp(tiny())
    assert set(baseline_auc([tmp_path / "single"], stamp)) == {"left"}
    with pytest.raises(RecipeError, match=r"same steps_per_task .* 200, got 100"):
        baseline_auc([tmp_path / "single"], protocol_stamp(tiny("steps_per_task=200")))
    both = {"right": 0.5, "left": 0.25}
    summary = run(tiny(), tmp_path / "run", baseline=both, progress=False)
    auc = summary["per_task"]["area_under_curve"]
    expected = ((auc[0] - 0.5) / 0.5 + (auc[1] - 0.25) / 0.75) / 2
    assert summary["forward_transfer"] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(RecipeError, match="one task, got 2"):
        baseline_auc([tmp_path / "run"], stamp)
    for content, told in {"{}": "the protocol stamp is missing", "null": "a mapping"}.items():
        (tmp_path / "single" / "summary.json").write_text(content)
        with pytest.raises(RunError, match=rf"damaged: .*{told}; `cotasp resume .*single` writes"):
            baseline_auc([tmp_path / "single"], stamp)


class TestFailures:
    @pytest.mark.parametrize("key", ["reward", "observation"])
    def test_a_number_that_is_not_finite_stops_the_run(self, key, tmp_path, monkeypatch):
        step, calls = PointEnv._step, []

        def broken(self, tensordict):
            out = step(self, tensordict)
            if not self.batch_size:  # evaluation runs its episodes side by side
                calls.append(1)
            if len(calls) == 37:
                out[key] = torch.full_like(out[key], math.nan)
            return out

        monkeypatch.setattr(PointEnv, "_step", broken)
        recipe = tiny("evaluation.every=100")
        with pytest.raises(RunError, match=rf"task 'right', step 37: .*{key} that is not finite"):
            run(recipe, tmp_path / "run", progress=False)

    def test_a_loss_that_is_not_finite_stops_the_run(self, tmp_path):
        recipe = tiny("agent.reward_scale=1e38")
        with pytest.raises(RunError, match=r"task 'right', step \d+: critic_loss is (inf|nan)"):
            run(recipe, tmp_path / "run", progress=False)

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            (
                "dictionary.lmbda=10",
                r"recipe.dictionary.lmbda: task 1 .*layer 1: no atom explains its text at 10",
            ),
            ("agent.warmup_steps=100", r"recipe.agent.warmup_steps: .*fewer than the 100"),
            ("encoder={name: onehot, dim: 1}", r"recipe.encoder: "),
            ("device=cuda:99", r"recipe.device: cuda:99 cannot be used here"),
        ],
    )
    def test_what_cannot_work_is_refused_before_anything_is_written(
        self, override, message, tmp_path
    ):
        with pytest.raises(RecipeError, match=message):
            run(tiny(override), tmp_path / "run", progress=False)
        assert not (tmp_path / "run").exists()

    def test_a_file_in_the_place_of_a_run_directory(self, tmp_path):
        (tmp_path / "run").write_text("mine")
        with pytest.raises(RunError, match="found a file"):
            run(tiny(), tmp_path / "run", progress=False)
        assert (tmp_path / "run").read_text() == "mine"

    def test_no_run_and_no_checkpoint(self, tmp_path):
        with pytest.raises(RunError, match="holds no run"):
            load_run(tmp_path)
        (tmp_path / "recipe.yaml").write_text(TINY)
        with pytest.raises(RunError, match=r"protocol\.json: not there; a run begins with it"):
            load_run(tmp_path)
        (tmp_path / "protocol.json").write_text("{}")
        with pytest.raises(RunError, match=r"no checkpoint"):
            load_run(tmp_path)

    def test_a_checkpoint_of_another_shape_is_refused(self, finished, tmp_path):
        out, _ = finished
        shutil.copytree(out, tmp_path / "run")
        wider = tiny("evaluation.schedule=full", "actor.hidden=[25, 20]")
        (tmp_path / "run" / "recipe.yaml").write_text(dump(wider))
        stamp = json.loads((out / "protocol.json").read_text()) | {"recipe": dump(wider)}
        (tmp_path / "run" / "protocol.json").write_text(json.dumps(stamp))
        with pytest.raises(RunError, match=r"cannot be loaded"):
            load_run(tmp_path / "run")


def test_a_held_action_takes_its_steps_of_the_budget(tmp_path):
    stream = "stream={name: point, goals: [right, left], horizon: 14, action_repeat: 2}"
    summary = run(tiny(stream, "logger=csv"), tmp_path / "run", progress=False)
    assert summary["steps"] == 200
    assert summary["evaluations"]["task_steps"] == [0, 50, 100, 0, 50, 100]
    # 100 steps are 50 transitions, 10 of them warm-up
    assert [facts["updates"] for facts in summary["task_facts"].values()] == [40.0, 40.0]
    table = read_csv(tmp_path / "run/metrics.csv")
    lengths = {row["value"] for row in table if row["name"] == "evaluation/episode_length"}
    assert lengths == {"14.0"}
    episodes = read_csv(tmp_path / "run/episodes.csv")
    assert {row["length"] for row in episodes} == {"14"}
    assert [int(row["step"]) for row in episodes[:8]] == [*range(14, 99, 14), 114]


def test_a_stream_that_disagrees_with_its_tasks_is_refused(tmp_path):
    class Confused(Point):
        def make_tasks(self):
            return tuple(replace(task, action_repeat=2) for task in super().make_tasks())

    with pytest.raises(RecipeError, match=r"^recipe.stream: action_repeat: expected 1 in every "):
        make_tasks(replace(tiny(), stream=Confused()))
