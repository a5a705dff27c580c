"""Recipes: YAML that composes a run.

A recipe file holds names and numbers only.  `load` reads it (with `base:` and overrides),
`Recipe` is the typed result, `dump` writes it back with every default: `loads(dump(r)) == r`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cotasp._yaml import LONGEST, parse, write
from cotasp.agents.agent import Agent, Parallel, WholeNetwork
from cotasp.agents.budget import Budget, WarmsUp, check_budget, check_returns, warmup_steps
from cotasp.agents.sac import SAC
from cotasp.errors import RecipeError
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.memories.task import TaskOnly
from cotasp.methods.memory import Memory, check_memory_serves, check_memory_unused
from cotasp.methods.method import Method
from cotasp.methods.protection import Protection, check_keeping, check_protections
from cotasp.methods.renewal import Renewal, check_renewals
from cotasp.modules.masks import ChecksWidths, MaskPolicy, Step
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.encoders import SBERT, Encoder
from cotasp.prompting.recall import Margin, RecallPolicy
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.registry import nearest
from cotasp.schema import build, plain
from cotasp.tasks.point_streams import Point
from cotasp.tasks.streams import Stream


@dataclass(frozen=True)
class Evaluation:
    """When and how success is measured.

    Args:
        every: environment steps of a task between evaluations; None: a tenth of the task, at most
            20,000, and a multiple of `frames_per_batch`.
        episodes: episodes per task and evaluation.
        schedule: `"full"`: every task each time; `"metrics_only"`: the task in training each
            time and all tasks at the stream's last `average` evaluations, which is all that P,
            F, FT and G need.
        mode: `"deterministic"`: the mean action; `"stochastic"`: sampled actions.
        success: `"last"`: an episode counts if its last step succeeds; `"any"`: any step.
        average: evaluations that final values are averaged over, at most those of one task.
        threshold: success rate that counts as learned in steps-to-threshold (G), in (0, 1].
        return_threshold: mean return of training's episodes that counts as learned in
            episodes-to-return (E); None: none does.
    """

    every: int | None = None
    episodes: int = 10
    schedule: Literal["full", "metrics_only"] = "metrics_only"
    mode: Literal["deterministic", "stochastic"] = "deterministic"
    success: Literal["last", "any"] = "last"
    average: int = 5
    threshold: float = 0.9
    return_threshold: float | None = None

    def __post_init__(self):
        if not 0 < self.threshold <= 1:
            raise RecipeError(f"threshold: expected in (0, 1], got {self.threshold}")
        for name in ("every", "episodes", "average"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"{name}: expected at least 1, got {value}")
        if self.episodes > 10_000:  # they run side by side
            raise RecipeError(f"episodes: expected at most 10000, got {self.episodes}")


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run but its seed's randomness.

    A method is *allocation* (encoder, dictionary, mask, renewals) times *protection* (and the
    memory that it reads); the agent learns each task of the stream within what these leave it.

    Args:
        question: what the run is for, one line; kept for the reader.
        seed: of networks, environments and sampling.
        stream: the tasks, in order.
        steps_per_task: environment steps per task.
        frames_per_batch: environment steps collected between two rounds of updates.
        encoder: text to embedding.
        dictionary: embedding to codes, and what a task's end does to the atoms.
        mask: code to sub-network.
        protection: what keeps finished tasks' policies, one or a list.
        memory: what is kept of finished tasks' transitions.
        renewals: what gives weights new values while a task trains.
        recall: which finished task a sentence means, when the run is asked; training is none of it.
        actor: shape of the meta-policy.
        agent: how a task is learned.
        evaluation: when and how success is measured.
        logger: where metrics go besides `metrics.csv`.
        device: torch device of networks and buffer; environments stay on the CPU.
        checkpoint_every: environment steps of a task between checkpoints; its end has one too.
        faults: what to do when an environment fails or returns a number that is not finite:
            `"stop"` the run, or `"skip"` the step and begin a new episode.
    """

    question: str = ""
    seed: int = 0
    stream: Stream = Point()
    steps_per_task: int = 1_000_000
    frames_per_batch: int = 40
    encoder: Encoder = SBERT()
    dictionary: SparseCoding = SparseCoding()
    mask: MaskPolicy = Step()
    protection: Protection | tuple[Protection, ...] = Freeze()
    memory: Memory = TaskOnly()
    renewals: tuple[Renewal, ...] = ()
    recall: RecallPolicy = Margin()
    actor: ActorSpec = ActorSpec()
    agent: Agent = SAC()
    evaluation: Evaluation = Evaluation()
    logger: Literal["csv", "tensorboard", "wandb"] = "csv"
    device: str = "cpu"
    checkpoint_every: int = 20_000
    faults: Literal["stop", "skip"] = "stop"

    def __post_init__(self):
        for name in ("steps_per_task", "frames_per_batch", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.frames_per_batch > 10**5:  # they are held in memory, one by one
            raise RecipeError(
                f"frames_per_batch: expected at most 1e5, got {self.frames_per_batch}"
            )
        repeat = getattr(self.stream, "action_repeat", None)
        if repeat is None:
            raise RecipeError(
                f"stream: {type(self.stream).__name__} lacks `action_repeat`, the environment "
                f"steps that an action is held for; give it the attribute, 1 if it holds none"
            )
        if self.frames_per_batch % repeat:
            raise RecipeError(
                f"frames_per_batch: expected a multiple of stream.action_repeat ({repeat}), "
                f"got {self.frames_per_batch}; choose {repeat * max(1, 40 // repeat)}, and "
                f"steps_per_task and evaluation.every to fit"
            )
        if isinstance(self.agent, Parallel) and self.frames_per_batch % (
            at_once := repeat * self.agent.num_envs
        ):
            raise RecipeError(
                f"frames_per_batch: expected a multiple of agent.num_envs times "
                f"stream.action_repeat ({at_once}), got {self.frames_per_batch}; choose "
                f"{at_once * max(1, self.frames_per_batch // at_once)}"
            )
        if not 0 <= self.seed < 2**31:
            raise RecipeError(f"seed: expected in [0, 2^31), got {self.seed}")
        if self.steps_per_task % self.frames_per_batch:
            raise RecipeError(
                f"steps_per_task: expected a multiple of frames_per_batch "
                f"({self.frames_per_batch}), got {self.steps_per_task}"
            )
        every = self.evaluate_every
        object.__setattr__(self, "evaluation", replace(self.evaluation, every=every))
        if every < self.steps_per_task and every % self.frames_per_batch:
            raise RecipeError(
                f"evaluation.every: expected a multiple of frames_per_batch "
                f"({self.frames_per_batch}), got {every}"
            )
        if not re.fullmatch(r"cpu|(cuda|mps|xpu)(:[0-9]+)?", self.device):
            cuda = self.device.replace("gpu", "cuda")
            raise RecipeError(
                f"device: expected cpu, cuda, cuda:1, mps or xpu, got {self.device!r}"
                + (f". Did you mean {cuda!r}?" if cuda != self.device else "")
            )
        check_protections(self.protections)
        check_keeping(self.mask, self.protections)
        check_renewals(self.renewals)
        if not getattr(self.agent, "keeps_rows", True):
            check_memory_unused(self.memory, self.protections, type(self.agent).__name__)
        if isinstance(self.agent, WholeNetwork):
            _check_plain(self)
        check_memory_serves(self.memory, self.protections, self.mask, self.actor.heads)
        if isinstance(self.mask, ChecksWidths):
            self.mask.check_widths(self.actor.hidden)
        if isinstance(self.agent, WarmsUp):
            budget = Budget(self.steps_per_task, repeat, getattr(self.stream, "horizon", None))
            if self.agent.warmup_steps is None:
                agent: Any = replace(self.agent, warmup_steps=warmup_steps(self.agent, budget))  # type: ignore[type-var]
                object.__setattr__(self, "agent", agent)
            check_budget(self.agent, budget, "agent")
            check_returns(self.agent, budget, "agent")

    @property
    def evaluate_every(self) -> int:
        """Environment steps of a task between evaluations."""
        if self.evaluation.every is not None:
            return self.evaluation.every
        tenth = min(20_000, self.steps_per_task // 10) // self.frames_per_batch
        return max(1, tenth) * self.frames_per_batch

    @property
    def evaluations_per_task(self) -> int:
        """How often the task in training is evaluated, the one at its end included."""
        return -(-self.steps_per_task // self.evaluate_every)

    @property
    def averaged_evaluations(self) -> int:
        """Evaluations that final values are means of: `average`, but no more than a task has."""
        return min(self.evaluation.average, self.evaluations_per_task)

    @property
    def protections(self) -> tuple[Protection, ...]:
        """What keeps finished tasks' policies, in order."""
        one = self.protection
        return one if isinstance(one, tuple) else (one,)

    @property
    def method(self) -> Method:
        """Allocation and protection, what an agent needs besides its own settings."""
        return Method(
            self.encoder,
            self.dictionary,
            self.mask,
            self.protections,
            self.actor,
            self.renewals,
            self.memory,
        )


def _check_plain(recipe: Recipe) -> None:
    """Sees that nothing is asked of an agent without masks that it would leave out."""
    agent, plain = type(recipe.agent).__name__, (Unprotected(),)
    if not getattr(recipe.mask, "all_units", False):
        raise RecipeError(
            f"mask: expected dense, for {agent} has one network without masks, got "
            f"{type(recipe.mask).__name__}"
        )
    if recipe.protections != plain or recipe.renewals:
        raise RecipeError(
            f"protection: expected none, and no renewals, for {agent} keeps a copy of its network "
            f"for every finished task"
        )
    if recipe.memory.rows_kept(1):
        raise RecipeError(f"memory: expected task, for {agent} keeps all transitions by itself")


def merge(base: Any, over: Any) -> Any:
    """`over` laid on `base`: mappings merge key by key, all else replaces.

    A bare name means `{name: ...}`; a mapping that names another component replaces the node.
    """
    if isinstance(base, str) and isinstance(over, Mapping) and "name" not in over:
        base = {"name": base}
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{k: merge(base[k], v) if k in base else v for k, v in over.items()}}


def _shipped() -> dict[str, Path]:
    """The recipes and sweeps that come with the package, by name, as `smoke`, `ablations/mask`."""
    here = Path(__file__).parent
    folder = here / "recipes" if (here / "recipes").is_dir() else here.parent / "recipes"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
    }


def find_recipe(path: str | Path) -> Path:
    """The file that a path or a name means: the one that is there, or a shipped one.

    `smoke`, `smoke.yaml` and `recipes/smoke.yaml` all mean a shipped recipe where no such file is.
    """
    path = Path(path)
    try:
        if path.is_absolute() or path.exists():
            return path
    except (OSError, ValueError):  # reading it says what is wrong
        return path
    name = path.as_posix().removeprefix("recipes/")
    return _shipped().get(name.removesuffix(".yaml"), path)


def read_node(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        RecipeError: no such file, or it holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except FileNotFoundError as error:
        others = {other.stem: other for other in path.parent.glob("*.y*ml")}
        filed = path.parent / "recipes" / f"{path.stem}.yaml"
        close: object = filed if filed.is_file() else others.get(nearest(path.stem, others) or "")
        close = close or nearest(
            path.with_suffix("").as_posix().removeprefix("recipes/"), _shipped()
        )
        remedy = f"did you mean {close}?" if close else "check the path"
        raise RecipeError(f"{path}: no such file; {remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(f"{path}: cannot read the recipe: {reason}") from error
    return _mapping(parse(text, str(path)), str(path))


def _mapping(node: Any, where: str) -> dict[str, Any]:
    if isinstance(node, dict):
        return node
    got = "nothing" if node is None else "a list" if isinstance(node, list) else "a single value"
    raise RecipeError(f"{where}: expected a mapping, such as `seed: 0`, got {got}")


def _base(path: Path, name: Any) -> dict[str, Any]:
    """The recipe that the one at `path` names as its base."""
    if not isinstance(name, str):
        raise RecipeError(f"{path}: base: expected the name of a recipe, got {name!r}")
    base = path.parent / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    try:
        node = read_node(base)
    except RecipeError as error:
        raise RecipeError(f"{path}: base: {error}") from error
    if "base" in node:
        raise RecipeError(f"{path}: base: {base} has a base of its own; one level is allowed")
    return node


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not (equals and all(parts)):
        raise RecipeError(f"override {text!r}: expected key=value, e.g. dictionary.lmbda=1e-2")
    node: Any = parse(value, f"override {text!r}")
    for part in reversed(parts):
        node = {part: node}
    return node


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file.

    Args:
        path: the file, or the name of a recipe that comes with the package, as `smoke`; its key
            `base` names another, relative to it, with or without `.yaml`.
        overrides: `key.path=value`; a component's name replaces it, a field edits it.

    Raises:
        RecipeError: anything wrong, named by path, with a suggestion.
    """
    path = find_recipe(path)
    node = read_node(path)
    if "axes" in node or "recipes" in node:
        raise RecipeError(f"{path}: a sweep, not a recipe; run it with `cotasp sweep {path}`")
    if "base" in node:
        node = merge(_base(path, node.pop("base")), node)
    return from_node(node, overrides)


def loads(text: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe from YAML text.

    Raises:
        RecipeError: as `load`; also a `base`, which only a file can name.
    """
    node = _mapping(parse(text, "recipe"), "recipe")
    if "base" in node:
        raise RecipeError("recipe: base: only a recipe file can have one; read it with `load`")
    return from_node(node, overrides)


def from_node(node: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from parsed YAML and overrides; what is left out takes its default."""
    for text in overrides:
        node = merge(node, _override(text))
    return build(Recipe, node, "recipe")


def to_node(recipe: Recipe) -> dict[str, Any]:
    """The recipe as strings, numbers, lists and mappings, every default written out."""
    return plain(recipe)


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out."""
    return write(to_node(recipe))


def with_seed(recipe: Recipe, seed: int | None) -> Recipe:
    """The recipe with another seed; None leaves it."""
    return recipe if seed is None else replace(recipe, seed=seed)
