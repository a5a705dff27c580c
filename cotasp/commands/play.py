"""`cotasp play RUN "sentence"`: a policy at work, in a window or a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotasp.commands._common import add_recall_argument, add_verb, set_threads
from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from cotasp.continual.opened import OpenedRun
    from cotasp.film.episode import Episode

EXAMPLES = """examples:
  cotasp play runs/smoke-seed0 "Park the car on the right."
  cotasp play runs/smoke-seed0 --task left --episodes 3 --out left.gif
  cotasp play runs/smoke-seed0 --all --out tasks.png
Without a display MuJoCo draws by EGL or OSMesa (MUJOCO_GL says which).
"""


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    help = "Show what the policy of a sentence or of a task does."
    parser = add_verb(subparsers, "play", help, EXAMPLES)
    parser.add_argument("dir", metavar="DIR", help="run directory")
    parser.add_argument("text", nargs="?", metavar="SENTENCE", help='as "Close the window."')
    parser.add_argument(
        "--task", metavar="NAME", help="the task's own policy; with a sentence: its environment"
    )
    parser.add_argument("--all", action="store_true", help="every finished task, side by side")
    parser.add_argument("--out", metavar="FILE", help="NAME.gif, NAME.mp4 or NAME.png")
    parser.add_argument("--episodes", type=int, default=1, metavar="N", help="default 1")
    parser.add_argument(
        "--seed", type=int, default=0, help="of initial states and goals; default 0"
    )
    parser.add_argument("--size", type=int, default=240, metavar="PIXELS", help="default 240")
    add_recall_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Plays, shows or writes, and prints how each episode went."""
    from cotasp.checks import check
    from cotasp.film.files import check_target, save
    from cotasp.prompting.texts import checked_texts
    from cotasp.ranges import Seed
    from cotasp.storage.rundir import RunDirectory
    from cotasp.tasks.drawing import check_pictures, choose_gl, has_display

    _check(arguments)
    check(Seed, arguments.seed, "--seed")
    check_pictures(arguments.episodes, arguments.size)
    if arguments.text is not None:
        checked_texts("play", [arguments.text])  # what is wrong is told before torch is imported
    directory = RunDirectory.open(arguments.dir).path
    if arguments.out:
        check_target(arguments.out)
    choose_gl()  # before MuJoCo is imported
    set_threads()
    from cotasp.continual.opened import open_run
    from cotasp.film.pictures import captioned

    run = open_run(directory, arguments.recall)
    episodes = _episodes(run, arguments)
    width = max(len(each.task) for each in episodes)
    print(f"{'task':<{width}}  success   return  steps")
    for each in episodes:
        said = f"{each.success:.2f}"
        if isinstance(each.success, bool):
            said = "yes" if each.success else "no"
        print(f"{each.task:<{width}}  {said:>7}  {each.episode_return:7.1f}  {each.steps:5,}")
    films = [captioned(each, arguments.size) for each in episodes]
    if not arguments.out and has_display():
        from cotasp.film.window import show

        show(films, f"cotasp play {directory}")
        return
    out = Path(arguments.out) if arguments.out else _default(directory, arguments, episodes[0])
    out.parent.mkdir(exist_ok=True)
    save(films, out, together=arguments.all)
    print(f"done: {out}, {out.stat().st_size / 1e3:,.0f} kB")


def _check(arguments: argparse.Namespace) -> None:
    if arguments.all and (arguments.text is not None or arguments.task):
        raise RecipeError("play: --all plays every task by its own policy; leave out the others")
    if not (arguments.all or arguments.text is not None or arguments.task):
        raise RecipeError("play: expected a sentence, --task NAME or --all; see cotasp play --help")


def _episodes(run: OpenedRun, arguments: argparse.Namespace) -> list[Episode]:
    options = {"episodes": arguments.episodes, "seed": arguments.seed, "size": arguments.size}
    if arguments.all:
        # a run without finished tasks is refused by its first task
        names = [run.tasks[i].name for i in run.finished or [0]]
        return [episode for name in names for episode in run.play(task=name, **options)]
    if arguments.text is not None:
        facts = run.prompt(arguments.text)
        means = facts.task or "no finished task for sure, and gets a policy nobody has trained"
        print(f"{facts.verdict}: {arguments.text!r} means {means}")
    return run.play(arguments.text, task=arguments.task, **options)


def _default(directory: Path, arguments: argparse.Namespace, first: Episode) -> Path:
    """Where the film goes that nobody has named."""
    name = "all" if arguments.all else first.task.replace("/", "_")
    return directory / "play" / f"{name}.gif"
