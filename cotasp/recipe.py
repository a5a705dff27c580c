"""Recipes: YAML that composes a run.

A recipe file holds names and numbers only.  `load` reads it (with `base:` and overrides),
`Recipe` is the typed result, `dump` writes it back with every default: `loads(dump(r)) == r`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cotasp._yaml import parse, write
from cotasp.agents.agent import Agent, Parallel, WholeNetwork
from cotasp.agents.budget import (
    Budget,
    ChecksBudget,
    WarmsUp,
    check_budget,
    check_returns,
    warmup_steps,
)
from cotasp.agents.sac import SAC
from cotasp.checks import check_fields
from cotasp.errors import RecipeError, component_errors
from cotasp.methods.freeze import Freeze, Unprotected
from cotasp.methods.memories.task import TaskOnly
from cotasp.methods.memory import Memory, check_memory_serves, check_memory_unused, rows_kept
from cotasp.methods.method import Method
from cotasp.methods.protection import Protection, check_keeping, check_parts, check_protections
from cotasp.methods.renewal import Renewal, check_renewals
from cotasp.modules.mask_capabilities import ChecksActor, imitates, shares_everything
from cotasp.modules.masks import MaskPolicy, Step
from cotasp.modules.specs import ActorSpec
from cotasp.prompting.encoders import SBERT, Encoder
from cotasp.prompting.posterior import Posterior
from cotasp.prompting.recall import RecallPolicy
from cotasp.prompting.sparse_coding import SparseCoding
from cotasp.ranges import Count, PositiveShare, Range, Seed
from cotasp.recipe_files import (
    base_of,
    find_recipe,
    mapping,
    merge,
    override_node,
    read_node,
    settings_dropped,
)
from cotasp.schema import build, plain
from cotasp.tasks.point_streams import Point
from cotasp.tasks.streams import Counted, Stream

# Keys in which two recipes may differ, by what is asked:
# Do two runs show the same variant?  A report then puts them into one row.
INCIDENTAL = ("question", "seed", "logger", "device", "checkpoint_every")
# Does a finished or stopped trial of a sweep stand for the one that is due?
TRIAL_MAY_DIFFER = ("question", "checkpoint_every")
# Can a run go on, or be opened, though its `recipe.yaml` was edited?
RESUME_MAY_DIFFER = ("question", "device", "checkpoint_every", "faults")
# Can a new run begin where another had finished a task?  All else must agree, or what was learned
# there means nothing here; of `stream` and `agent`, `cotasp.continual.branch` looks at parts.
BRANCH_MAY_DIFFER = (
    "question",
    "protection",
    "recall",
    "dictionary.solver",
    "dictionary.update",
    "logger",
    "device",
    "checkpoint_every",
    "faults",
)
# The same, if the new run takes what was learned and not what was measured.
ADAPT_MAY_DIFFER = (*BRANCH_MAY_DIFFER, "steps_per_task", "evaluation")


@dataclass(frozen=True)
class Evaluation:
    """When and how success is measured.

    Args:
        every: environment steps of a task between evaluations, of which there is one at step 0,
            for curves alone; None: a tenth of the task, at most
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

    every: Count | None = None
    episodes: Annotated[int, Range(1, 10_000)] = 10
    schedule: Literal["full", "metrics_only"] = "metrics_only"
    mode: Literal["deterministic", "stochastic"] = "deterministic"
    success: Literal["last", "any"] = "last"
    average: Count = 5
    threshold: PositiveShare = 0.9
    return_threshold: float | None = None

    def __post_init__(self):
        check_fields(self)


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
        task_input: what policy and critics are told of the task besides the environment's
            observations, at their end: `"none"`; its `"number"` in the stream, one-hot, as
            Continual World's multi-task learners are; or the embedding of its `"text"`.
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
    seed: Seed = 0
    stream: Stream = Point()
    steps_per_task: Count = 1_000_000
    frames_per_batch: Annotated[int, Range(1, 100_000)] = 40
    task_input: Literal["none", "number", "text"] = "none"
    encoder: Encoder = SBERT()
    dictionary: SparseCoding = SparseCoding()
    mask: MaskPolicy = Step()
    protection: Protection | tuple[Protection, ...] = Freeze()
    memory: Memory = TaskOnly()
    renewals: tuple[Renewal, ...] = ()
    recall: RecallPolicy = Posterior()
    actor: ActorSpec = ActorSpec()
    agent: Agent = SAC()
    evaluation: Evaluation = Evaluation()
    logger: Literal["csv", "tensorboard", "wandb", "mlflow"] = "csv"
    device: str = "cpu"
    checkpoint_every: Count = 20_000
    faults: Literal["stop", "skip"] = "stop"

    def __post_init__(self):
        check_fields(self)
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
                f"frames_per_batch: expected a multiple of the agent's num_envs times "
                f"stream.action_repeat ({at_once}), got {self.frames_per_batch}; choose "
                f"{_multiple(self.frames_per_batch, at_once)}"
            )
        if self.steps_per_task % self.frames_per_batch:
            raise RecipeError(
                f"steps_per_task: expected a multiple of frames_per_batch "
                f"({self.frames_per_batch}), got {self.steps_per_task}; choose "
                f"{_multiple(self.steps_per_task, self.frames_per_batch)}"
            )
        every = self.evaluate_every
        object.__setattr__(self, "evaluation", replace(self.evaluation, every=every))
        if every < self.steps_per_task and every % self.frames_per_batch:
            raise RecipeError(
                f"evaluation.every: expected a multiple of frames_per_batch "
                f"({self.frames_per_batch}), got {every}; choose "
                f"{_multiple(every, self.frames_per_batch)}"
            )
        if not re.fullmatch(r"cpu|(cuda|mps|xpu)(:[0-9]+)?", self.device):
            cuda = self.device.replace("gpu", "cuda")
            raise RecipeError(
                f"device: expected cpu, cuda, cuda:1, mps or xpu, got {self.device!r}"
                + (f". Did you mean {cuda!r}?" if cuda != self.device else "")
            )
        check_protections(self.protections)
        check_keeping(self.mask, self.protections)
        check_parts(self.protections, getattr(self.stream, "together", 1))
        check_renewals(self.renewals, self.mask)
        self._check_outputs()
        if not getattr(self.agent, "keeps_rows", True):
            check_memory_unused(self.memory, self.protections, type(self.agent).__name__)
            _check_no_imitation(self)
        if isinstance(self.agent, WholeNetwork):
            _check_plain(self)
        values = getattr(self.agent, "values", None)
        values_heads = getattr(values, "heads", "shared")
        check_memory_serves(
            self.memory, self.protections, self.mask, self.actor.heads, values_heads
        )
        for part in (self.mask, *self.protections):
            if isinstance(part, ChecksActor):
                part.check_actor(self.actor)
        if self.actor.deviation is not None:
            _check_gaussian(self)
        counted = self.stream.n_tasks if isinstance(self.stream, Counted) else None
        budget = Budget(self.steps_per_task, repeat, getattr(self.stream, "horizon", None), counted)
        if isinstance(self.agent, ChecksBudget):
            with component_errors("agent", self.agent):
                self.agent.check_budget(budget)
        if isinstance(self.agent, WarmsUp):
            if self.agent.warmup_steps is None:
                agent: Any = replace(self.agent, warmup_steps=warmup_steps(self.agent, budget))  # type: ignore[type-var]
                object.__setattr__(self, "agent", agent)
            check_budget(self.agent, budget, "agent")
            check_returns(self.agent, budget, "agent")

    def _check_outputs(self) -> None:
        """Raises RecipeError for critics with an output per task that cannot tell which it is."""
        outputs = getattr(getattr(self.agent, "critic", None), "tasks", 1)
        together = getattr(self.stream, "together", 1)
        if outputs > 1 and (outputs != together or self.task_input != "none"):
            raise RecipeError(
                f"agent.critic.tasks: expected 1, or as many as stream.together ({together}) with "
                f"task_input none, which tells observations apart, got {outputs} with task_input "
                f"{self.task_input}"
            )

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


def _multiple(number: int, of: int) -> int:
    """The multiple of `of` that is nearest to a number, and no less than one."""
    return of * max(1, round(number / of))


def _check_no_imitation(recipe: Recipe) -> None:
    """Raises RecipeError for a mask whose tasks end by imitation, without rows to do it on."""
    if imitates(recipe.mask):
        mask, agent = type(recipe.mask).__name__, type(recipe.agent).__name__
        raise RecipeError(
            f"mask: expected one whose tasks imitate nothing at their end, for {agent} keeps no "
            f"transitions to do it on, got {mask}; use agent: sac or td3"
        )


def _check_gaussian(recipe: Recipe) -> None:
    """Raises RecipeError for Gaussian weights where single ones are chosen, or where what acted and
    what learns must be the same draw.
    """
    if not shares_everything(recipe.mask):
        raise RecipeError(
            f"actor.deviation: expected null with {type(recipe.mask).__name__}, for Gaussian "
            f"weights are those of the whole network; use mask: dense"
        )
    if recipe.renewals:
        raise RecipeError(
            "actor.deviation: expected null with renewals, which set weights as if they were "
            "numbers; remove the renewals"
        )
    if isinstance(recipe.agent, WholeNetwork) or not getattr(recipe.agent, "keeps_rows", True):
        raise RecipeError(
            f"actor.deviation: expected null with {type(recipe.agent).__name__}, whose ratios of "
            f"densities would be of two draws of the weights; use agent: sac or td3"
        )


def _check_plain(recipe: Recipe) -> None:
    """Sees that nothing is asked of an agent without masks that it would leave out."""
    agent, plain = type(recipe.agent).__name__, (Unprotected(),)
    if not shares_everything(recipe.mask):
        raise RecipeError(
            f"mask: expected dense, for {agent} has one network without masks, got "
            f"{type(recipe.mask).__name__}"
        )
    if recipe.protections != plain or recipe.renewals:
        raise RecipeError(
            f"protection: expected none, and no renewals, for {agent} keeps a copy of its network "
            f"for every finished task"
        )
    if rows_kept(recipe.memory, 1):
        raise RecipeError(f"memory: expected task, for {agent} keeps all transitions by itself")
    if recipe.actor.heads != "shared":
        raise RecipeError(
            f"actor.heads: expected shared, for {agent} prepares one network for whatever comes "
            f"next, got {recipe.actor.heads}"
        )
    together = getattr(recipe.stream, "together", 1)
    if together > 1:
        raise RecipeError(
            f"stream.together: expected 1 with {agent}, which every single task prepares for the "
            f"next, got {together}; use the agent ppo"
        )


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file.

    Args:
        path: the file, or the name of a recipe that comes with the package, as `smoke`; its key
            `base` names another, relative to it or shipped, with or without `.yaml`.
        overrides: `key.path=value`; a component's name replaces it, a field edits it.

    Raises:
        RecipeError: anything wrong, named by path, with a suggestion.
    """
    return from_node(_with_base(path), overrides)


def _with_base(path: str | Path) -> dict[str, Any]:
    """A recipe file's mapping, laid on its base."""
    if not isinstance(path, (str, Path)):
        raise RecipeError(f"recipe: expected the path of a file, got {type(path).__name__}")
    path = find_recipe(path)
    node = read_node(path)
    if "axes" in node or "recipes" in node:
        raise RecipeError(f"{path}: a sweep, not a recipe; run it with `cotasp sweep {path}`")
    if "base" in node:
        node = merge(base_of(path, node.pop("base")), node)
    return node


def replacements(path: str | Path, overrides: Sequence[str]) -> dict[str, list[str]]:
    """Overrides that name a component, to the settings of the file that it takes the place of.

    Args:
        path, overrides: as of `load`.
    """
    node: Any = _with_base(path)
    removals = {}
    for text in overrides:
        over = override_node(text)
        gone = settings_dropped(node, over)
        if gone:
            removals[text] = gone
        node = merge(node, over)
    return removals


def loads(text: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe from YAML text.

    Raises:
        RecipeError: as `load`; also a `base`, which only a file can name.
    """
    if not isinstance(text, str):
        raise RecipeError(f"recipe: expected YAML text, got {type(text).__name__}")
    node = mapping(parse(text, "recipe"), "recipe")
    if "base" in node:
        raise RecipeError("recipe: base: only a recipe file can have one; read it with `load`")
    return from_node(node, overrides)


def from_node(node: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from parsed YAML and overrides; what is left out takes its default."""
    if isinstance(overrides, str):
        raise RecipeError(f"overrides: expected a list of key=value, got the text {overrides!r}")
    for text in overrides:
        node = merge(node, override_node(text))
    return build(Recipe, node, "recipe")


def to_node(recipe: Recipe) -> dict[str, Any]:
    """The recipe as strings, numbers, lists and mappings, every default written out."""
    return plain(recipe)


def variant_hash(node: Mapping[str, Any], left_out: Collection[str] = INCIDENTAL) -> str:
    """Twelve hexadecimal digits that recipes share if they are one variant.

    Args:
        node: a recipe, every default written out.
        left_out: keys that make no other variant.
    """
    kept = {key: value for key, value in node.items() if key not in left_out}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, every default written out.

    Raises:
        RecipeError: it is no recipe.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"recipe: expected a Recipe, got {type(recipe).__name__}; cotasp.load reads a file, "
            f"cotasp.loads a text"
        )
    return write(to_node(recipe))


def with_seed(recipe: Recipe, seed: int | None) -> Recipe:
    """The recipe with another seed; None leaves it."""
    return recipe if seed is None else replace(recipe, seed=seed)
