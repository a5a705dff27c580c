"""Episodes that are watched: frames, verdicts, files and refusals."""

from __future__ import annotations

import random
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from PIL import Image
from tensordict.nn import TensorDictModule

import cotasp
from cotasp.__main__ import main
from cotasp.continual.loop import run
from cotasp.continual.playing import watch
from cotasp.errors import RecipeError, RunError
from cotasp.film.pictures import captioned
from cotasp.recipe import Evaluation
from cotasp.tasks import GymEntry, Gymnasium, MetaWorldEnv, Point
from cotasp.tasks.drawing import choose_gl, mujoco_viewer
from tests.continual.runs import tiny


def towards(goal):
    """A policy for the toy that moves straight to a goal and stays there."""

    def act(observation):
        return ((torch.tensor(goal) - observation[..., :2]) * 4).clamp(-1, 1)

    return TensorDictModule(act, ["observation"], ["action"])


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_an_episode_has_frames_and_ends_as_its_last_step_says():
    task = Point(goals=("right",), horizon=30).make_tasks()[0]
    right, left = (
        watch(task, towards(goal), Evaluation(), episodes=2, size=64)
        for goal in ((0.8, 0.0), (-0.8, 0.0))
    )
    for episode in (*right, *left):
        assert len(episode.frames) == len(episode.solved) == 31
        assert {frame.shape for frame in episode.frames} == {(64, 64, 3)}
        assert episode.steps == 30
        assert not episode.solved[0]
    assert all(e.success and e.solved[-1] for e in right)
    assert not any(e.success or any(e.solved) for e in left)
    assert not np.array_equal(right[0].frames[0], right[1].frames[0])  # another start
    again = watch(task, towards((0.8, 0.0)), Evaluation(), episodes=2, size=64)
    assert all(np.array_equal(a, b) for a, b in zip(right[1].frames, again[1].frames))


@pytest.mark.parametrize("rule", ["last", "any"])
def test_the_runs_rule_says_what_a_success_is(rule):
    """Always to the right: past the goal in the middle."""
    task = Point(goals=("centre",), action_repeat=6).make_tasks()[0]
    episodes = watch(task, towards((9.0, 0.0)), Evaluation(success=rule), episodes=20)
    assert any(e.success for e in episodes) == (rule == "any")
    assert {e.steps for e in episodes} == {30}


def test_what_can_not_be_played_is_refused():
    task = Point(goals=("right",)).make_tasks()[0]
    with pytest.raises(RecipeError, match="episodes: expected at least 1, got 0"):
        watch(task, towards((0.0, 0.0)), Evaluation(), episodes=0)
    with pytest.raises(RecipeError, match="size: expected 64 to 1024 pixels, got 9999"):
        watch(task, towards((0.0, 0.0)), Evaluation(), size=9999)
    for seed in (-1, 2**31):
        with pytest.raises(RecipeError, match=rf"seed: expected in \[0, 2\^31\), got {seed}"):
            watch(task, towards((0.0, 0.0)), Evaluation(), seed=seed)


class Own(gymnasium.Env):
    """Draws itself, or does not."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    observation_space = Box(-1.0, 1.0, (3,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None, **_):
        self.render_mode = render_mode

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.shade = int(self.np_random.integers(256))
        return np.zeros(3, np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), 1.0, False, False, {"success": True}

    def render(self):
        assert self.render_mode == "rgb_array"
        return np.full((40, 60, 3), self.shade, np.uint8)


STEP = Own.step


class Blind(Own):
    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.mark.parametrize("made", [Own, Blind])
def test_gymnasium_environments_draw_themselves(made):
    gymnasium.register("cotasp/Drawn-v0", made, max_episode_steps=5)
    try:
        entry = GymEntry("cotasp/Drawn-v0", "Do nothing.")
        task = Gymnasium(tasks=(entry,)).make_tasks()[0]
        policy = towards((0.0, 0.0))
        policy.module = lambda observation: torch.zeros(1)
        if made is Blind:
            with pytest.raises(RunError, match=r"cannot be drawn: expected the render mode"):
                watch(task, policy, Evaluation())
            return
        episodes = watch(task, policy, Evaluation(), episodes=2)
        assert [e.frames[0].shape for e in episodes] == [(40, 60, 3)] * 2
        assert episodes[0].success
    finally:
        del gymnasium.registry["cotasp/Drawn-v0"]


class Faulty(Own):
    """Fails in the third step of every episode."""

    fault = "raises"

    def reset(self, seed=None, options=None):
        self.taken = 0
        return super().reset(seed=seed)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        self.taken += 1
        if self.taken == 3 and self.fault == "raises":
            raise ValueError("joint limit")
        if self.taken == 3:
            reward = reward if self.fault == "observation" else np.nan
            observation = observation * (np.nan if self.fault == "observation" else 1)
        return observation, reward, *rest


@pytest.mark.parametrize("fault", ["raises", "observation", "reward"])
def test_faults_of_environments_are_told_or_skipped(monkeypatch, fault):
    gymnasium.register("cotasp/Faulty-v0", Faulty, max_episode_steps=5)
    monkeypatch.setattr(Faulty, "fault", fault)
    try:
        task = Gymnasium(tasks=(GymEntry("cotasp/Faulty-v0", "Do nothing."),)).make_tasks()[0]
        policy = towards((0.0, 0.0))
        policy.module = lambda observation: torch.zeros(1)
        told = "the environment failed: ValueError.'joint limit'." if fault == "raises" else ""
        told = told or f"the environment returned an? {fault} that is not finite from its step"
        place = "playing task 'cotasp/Faulty-v0', step 3: "
        with pytest.raises(RunError, match=f"^{place}{told}; mend it, or skip such episodes by"):
            watch(task, policy, Evaluation())
        for episode in watch(task, policy, Evaluation(success="any"), episodes=2, faults="skip"):
            assert (episode.success, episode.episode_return, episode.steps) == (False, 2.0, 3)
    finally:
        del gymnasium.registry["cotasp/Faulty-v0"]


def test_a_run_that_skips_faults_is_played_so(tmp_path, monkeypatch):
    run(tiny("faults=skip", "steps_per_task=40"), tmp_path / "run", progress=False)
    seen = []
    monkeypatch.setattr("cotasp.continual.playing.watch", lambda *a, **o: seen.append(o["faults"]))
    cotasp.open_run(tmp_path / "run").play(task="left")
    assert seen == ["skip"]


WHOLE = np.full((4, 6, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (None, "NoneType"),
        ([WHOLE], "list"),
        (WHOLE[..., 0], r"an array of uint8 of shape \(4, 6\)"),
        (WHOLE / 255, r"an array of float64 of shape \(4, 6, 3\)"),
        (np.dstack([WHOLE, WHOLE[..., :1]]), r"an array of uint8 of shape \(4, 6, 4\)"),
        (WHOLE.astype(int) * 2, r"an array of int64 of shape \(4, 6, 3\)"),
        (WHOLE.astype(int), None),
    ],
)
def test_what_is_no_picture_is_refused_at_the_first_frame(monkeypatch, picture, got):
    steps = []
    monkeypatch.setattr(Own, "render", lambda self: picture)
    monkeypatch.setattr(Own, "step", lambda *_: steps.append(1) or STEP(*_))
    gymnasium.register("cotasp/Drawn-v0", Own, max_episode_steps=5)
    try:
        task = Gymnasium((GymEntry("cotasp/Drawn-v0", "Do nothing."),)).make_tasks()[0]
        steps.clear()
        policy = TensorDictModule(lambda _: torch.zeros(1), ["observation"], ["action"])
        if got is None:
            (episode,) = watch(task, policy, Evaluation())
            assert all(np.array_equal(frame, WHOLE) for frame in episode.frames)
            return
        told = rf"<Own.*cannot be drawn: expected a picture, .*, got {got}; let its method render"
        with pytest.raises(RunError, match=told):
            watch(task, policy, Evaluation())
        assert not steps
    finally:
        del gymnasium.registry["cotasp/Drawn-v0"]


def test_metaworld_is_drawn_without_a_display_or_says_what_is_missing():
    env = MetaWorldEnv("window-close-v3", horizon=10)
    try:
        env.begin_drawing(64)
    except RunError as error:
        assert "libegl1" in str(error)  # noqa: PT017  # whichever this machine can do
        return
    env.reset()
    first = env.frame()
    assert first.shape == (64, 64, 3)
    assert first.std() > 10  # not of one colour
    for _ in range(5):
        env.rand_step()
    assert not np.array_equal(env.frame(), first)
    env.close()


def test_a_machine_that_can_not_draw_names_the_packages(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("cotasp.tasks.drawing.find_library", lambda name: None)
    monkeypatch.setattr("sys.platform", "linux")
    assert choose_gl() is None
    with pytest.raises(
        RunError, match=r"neither EGL nor OSMesa; install .*libegl1.* or libosmesa6"
    ):
        mujoco_viewer(None, None, 64, 64)
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(RunError, match=r"cannot draw by MUJOCO_GL=nonsense .*set MUJOCO_GL to egl"):
        mujoco_viewer(None, None, 64, 64)


# -- the command --------------------------------------------------------------------------


def length(path) -> int:
    with Image.open(path) as image:
        return image.n_frames


def test_a_task_goes_to_a_file_beside_the_run(undisturbed, capsys):
    assert main(["play", str(undisturbed), "--task", "left", "--episodes", "2"]) == 0
    out = undisturbed / "play" / "left.gif"
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "task  success   return  steps"
    assert [line.split()[0] for line in printed[1:3]] == ["left", "left"]
    assert printed[-1].startswith(f"done: {out}, ")
    assert length(out) >= 2 * 8  # the last ones are one that stands


@pytest.mark.parametrize("ending", ["gif", "png", "mp4"])
def test_all_tasks_go_to_any_file(undisturbed, tmp_path, ending, capsys):
    out = tmp_path / f"all.{ending}"
    assert main(["play", str(undisturbed), "--all", "--size", "64", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"done: {out}, ")
    if ending == "png":
        with Image.open(out) as image:
            assert image.size[0] == 5 * 64  # stills of each of two tasks
    elif ending == "gif":
        assert length(out) >= 8
    else:
        assert b"ftyp" in out.read_bytes()[:16]


def test_a_sentence_is_played_where_it_belongs_or_where_it_is_sent(undisturbed, capsys):
    run = cotasp.open_run(undisturbed)
    text = run.tasks[1].text
    (there,) = run.play(text)
    (sent,) = run.play(text, task="right")
    assert [there.task, sent.task] == ["left", "right"]
    assert there.text == sent.text == text
    to = undisturbed / "sent.gif"
    assert main(["play", str(undisturbed), "--task", "right", text, "--out", str(to)]) == 0
    assert "right" in capsys.readouterr().out.splitlines()[2]
    assert main(["play", str(undisturbed), text.upper(), "--out", "x.zip"]) == 2
    assert "expected a file ending with .gif or .mp4 or .png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ([], 2, "play: expected a sentence, --task NAME or --all"),
        (["--all", "--task", "left"], 2, "play: --all plays every task by its own policy"),
        (["--task", "lefft"], 2, "task: unknown task 'lefft'. Did you mean 'left'?"),
        (["  "], 2, "play: expected a text that describes the task, got ' ' as text 0"),
        (["x" * 1001], 2, "play: expected at most 1,000 characters, got 1,001"),
        (["--task", "left", "--out", "no/x.gif"], 1, "no: no such directory; make it first"),
        (["--task", "left", "--episodes", "0"], 2, "episodes: expected at least 1, got 0"),
        (["--task", "left", "--seed", "-1"], 2, "--seed: expected in [0, 2^31), got -1"),
        (["--task", "left", "--seed", f"{10**23}"], 2, "--seed: expected in [0, 2^31), got 1000"),
    ],
)
def test_refusals(undisturbed, tmp_path, monkeypatch, more, code, message, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["play", str(undisturbed), *more]) == code
    assert capsys.readouterr().err.startswith(f"cotasp: error: {message}")
    assert not list(tmp_path.iterdir())


def test_an_mp4_without_ffmpeg_is_refused_before_anything_is_played(tmp_path, monkeypatch):
    from cotasp.film.files import check_target

    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(RecipeError, match=r"needs ffmpeg; pip install 'cotasp\[mp4\]'"):
        check_target(tmp_path / "x.mp4")


# -- evaluate -----------------------------------------------------------------------------


def test_evaluate_says_each_episode_and_an_interval(undisturbed, capsys):
    import json

    assert main(["evaluate", str(undisturbed), "--task", "left", "--json", "--episodes", "7"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert len(result["episodes"]) == 7
    successes = [episode["success"] for episode in result["episodes"]]
    assert result["success"] == pytest.approx(sum(successes) / 7)
    low, high = result["success_interval"]
    z, n, p = 1.959964, 7, result["success"]  # Wilson's formula
    centre, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert low == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-6)
    assert high == pytest.approx((centre + half) / (1 + z * z / n), abs=1e-6)


def test_a_sentence_is_evaluated_as_its_task_is(undisturbed, capsys):
    run = cotasp.open_run(undisturbed)
    by_text, by_name = run.evaluate(run.tasks[0].text), run.evaluate(task="right")
    assert by_text.rows() == by_name.rows()
    assert main(["evaluate", str(undisturbed), "--text", run.tasks[0].text]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("known: ")
    assert printed[0].endswith(" means right")
    assert printed[1] == "task   success  95 % interval  return  steps"
    assert printed[-1].startswith("done: mean success ")
    assert main(["evaluate", str(undisturbed), "--text", "?"]) == 2
    assert "evaluate: expected a text" in capsys.readouterr().err


def test_a_task_that_is_judged_by_its_return_is_played_so():
    task = replace(Point(goals=("right",)).make_tasks()[0], return_range=(-20.0, 40.0))
    (episode,) = watch(task, towards((0.8, 0.0)), Evaluation(), size=64)
    assert episode.success == pytest.approx((episode.episode_return + 20) / 60)
    assert 0 < episode.success < 1
    assert captioned(episode, 64)[-1].shape == (64 + 28, 64, 3)


def test_watching_leaves_every_global_generator_as_it_was_and_begins_it_anew():
    drawn = []

    def act(observation):
        drawn.append((random.random(), np.random.random(), float(torch.rand(()))))  # noqa: NPY002
        return observation[..., :2]

    task = Point(goals=("right",)).make_tasks()[0]
    policy = TensorDictModule(act, ["observation"], ["action"])
    states = []
    for _ in range(2):
        watch(task, policy, Evaluation(), size=64)
        states.append((random.getstate(), float(np.random.get_state()[1][0])))  # noqa: NPY002
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]
    assert states[0] == states[1]
