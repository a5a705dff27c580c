"""The life of an off-policy learner: warm-up, replay, how many updates are due, checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Generator, Tensor

from cotasp.agents.acting import ActingPolicy, Behaviour, on_cpu
from cotasp.agents.budget import check_budget, first_update_after, warmup_steps
from cotasp.agents.checks import check_episode, check_losses, check_parameters
from cotasp.agents.compiled import width_multiple
from cotasp.agents.precision import check_precision
from cotasp.agents.settings import OffPolicy
from cotasp.agents.stacked import StackedUpdates
from cotasp.agents.trials import Trials
from cotasp.agents.updates import Draws, Losses, Updater, update_alone
from cotasp.agents.values import Values
from cotasp.errors import RecipeError, component_errors, refuse_returned
from cotasp.methods.actor import ContinualActor
from cotasp.methods.batch import Batch
from cotasp.methods.capacity import check_memory
from cotasp.methods.kept import KeptRows
from cotasp.methods.method import Method
from cotasp.methods.problem import Problem
from cotasp.methods.replay import Replay
from cotasp.methods.sizes import size_facts
from cotasp.methods.trained import ActorRates
from cotasp.modules.policy import MetaPolicy, Policy

CHECK_EVERY = 100  # updates between two looks at the parameters; losses are all looked at
ANNEAL_EVERY = 100  # updates after which a smooth mask follows the progress of its task
DISTIL_TOGETHER = 100  # updates of distillation that are drawn for, made and checked together


class OffPolicyLearner:
    """Trains a `ContinualActor` on replayed transitions, its weights and codes in alternation.

    Args:
        settings: the agent, whose `update` is called.
        problem: the stream.
        method: allocation and protection.
    """

    def __init__(self, settings: OffPolicy, problem: Problem, method: Method) -> None:
        check_budget(settings, problem)
        check_episode(settings, problem)
        check_memory(settings.sampling(problem), problem, method.memory)
        check_precision(settings.precision, problem.device)
        self.settings = settings
        self.warmup_steps = warmup_steps(settings, problem)
        self.problem = problem
        self.device = torch.device(problem.device)
        rates = ActorRates(
            settings.learning_rate,
            settings.code_learning_rate,
            settings.execution == "compact",
            width_multiple(settings.compiles, settings.precision, self.device),
            settings.actor_average,
            settings.clip,
        )
        self.kept = KeptRows(method.memory, problem)
        self.actor = ContinualActor(problem, method, rates, self.kept.draw)
        self.acting = Behaviour(
            problem.action_dim,
            max(1.0, settings.warmup_hold / problem.action_repeat),
            settings.noise_correlation,
            settings.squashed_noise,
        )
        self._behaviour = TensorDictModule(self.acting, ["observation", "is_init"], ["action"])
        captured = self.device.type == "cuda" and self.actor.not_stackable is None
        self.updater: Updater = StackedUpdates().alone if captured else update_alone
        self.values = self._new_values()
        self.replay: Replay | None = None

    def stack(self, updater: Updater) -> None:
        cannot = self.actor.not_stackable
        if cannot is not None:
            raise RecipeError(
                f"recipe: {cannot} cannot be computed together with other learners' updates; "
                f"run with --launcher local"
            )
        self.updater = updater

    def _new_values(self) -> Values:
        settings = self.settings
        return Values(self.problem, settings.critic, settings.learning_rate, settings.numbers())

    # -- the task's beginning -------------------------------------------------------------

    def start_task(self, task: int) -> dict[str, float]:
        owner = self.problem.owner(task)
        active = self.actor.begin_task(owner)
        self.steps = self.updates = 0
        distils = self.settings.distillation_updates and not self.actor.returns
        facts = self._distill() if task > 0 and distils else {}
        if self.settings.values.carry == "nothing":
            self.values = self._new_values()
        else:
            self.values.new_optimisers()
        if self.settings.values.heads == "per_task" and self.actor.ownership.shares:
            self.values.take_head(owner)
        self.replay = Replay(self.settings.sampling(self.problem), self.problem, task)
        self._begin_phase("theta")
        self.trials = Trials(len(self.actor.ownership.shares))
        self.acting.begin_turns()
        self.begin_acting()
        return facts | active

    def _distill(self) -> dict[str, float]:
        """Random policy distillation on the previous task's states, by a throw-away optimiser."""
        if self.replay is None:
            return {}
        self._begin_phase("distillation")
        count, losses = self.settings.distillation_updates, {}
        for start in range(0, count, DISTIL_TOGETHER):
            losses = self._make(min(DISTIL_TOGETHER, count - start), start)
        self.actor.sub.write_back()
        self.actor.begin_weights()
        loss = float(losses["distillation_loss"][-1])
        return {"distillation_loss": loss, "distillation_updates": float(count)}

    # -- collecting -------------------------------------------------------------------------

    def behaviour(self) -> TensorDictModule:
        return self._behaviour

    def begin_acting(self) -> None:
        """Acts as the step asks for, with the weights of now: warm-up at random or by earlier
        prompts, then the policy.
        """
        actor, explores = self.actor, self._explores
        if self.steps >= self.warmup_steps:
            self.acting.act_by(explores(on_cpu(*actor.network_in_training)))
            return
        owned = actor.ownership
        if self.settings.warmup == "uniform" or not owned.shares:
            self.acting.act_uniformly()
            return
        tries = self.settings.warmup == "best_earlier"
        best = self.trials.best if tries else None
        tasks = sorted(owned.shares) if best is None else [sorted(owned.shares)[best]]
        cut = (owned.cut(actor.meta_policy, task) for task in tasks)
        self.acting.act_by(*(explores(on_cpu(network)) for network in cut), in_turn=tries)

    def _try_policies(self, data: TensorDictBase) -> None:
        """Counts what finished tasks' policies earn in warm-up; the best one goes on alone, and a
        new task begins with its head: with that of the best of those tried, if warm-up ends first.
        """
        if self.steps >= self.warmup_steps or self.trials.best is not None:
            return
        self.trials.add(data)
        ends = self.steps + len(data) * self.problem.action_repeat >= self.warmup_steps
        best = self.trials.best_tried if ends else self.trials.best
        if best is None:
            return
        shares = self.actor.ownership.shares
        if self.settings.head_start == "best" and self.actor.task not in shares:
            self.actor.begin_head_as(sorted(shares)[best])
            self._begin_phase("theta")
        self.begin_acting()

    def _explores(self, policy: Policy) -> Policy:
        with component_errors("agent", self.settings):
            explorer = self.settings.explores(policy)
        wrong = None if callable(explorer) else f"{explorer!r:.80}"
        refuse_returned("agent", self.settings, "explores", "a function of observations", wrong)
        return explorer

    # -- learning ---------------------------------------------------------------------------

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        data = data.reshape(-1)
        before, updates = self._updates_due(), self.updates
        self.replay.extend(data)  # type: ignore[union-attr]  # a task has begun
        if self.settings.warmup == "best_earlier":
            self._try_policies(data)
        self.steps += len(data) * self.problem.action_repeat
        losses = self.update(self._updates_due() - before)
        if self.steps >= self.warmup_steps:
            self.begin_acting()
        if self.updates // CHECK_EVERY > updates // CHECK_EVERY:
            check_parameters(self._parameters(), self.updates)
        return losses

    def _updates_due(self) -> int:
        transitions = self.steps // self.problem.action_repeat
        trained = max(0, transitions - first_update_after(self.settings, self.problem))
        return int(trained * self.settings.updates_per_transition)

    def update(self, count: int) -> dict[str, Tensor]:
        """Makes updates; returns the losses of the last one.

        Raises:
            RunError: a loss is not finite; found at the end of its stretch, which is made whole.
        """
        losses: dict[str, Tensor] = {}
        last = self.updates + count
        while self.updates < last:
            until = min(last, self._begin_stretch())
            series = self._make(until - self.updates, self.updates)
            self.updates, losses = until, {name: values[-1] for name, values in series.items()}
        return losses

    def _make(self, count: int, before: int) -> Losses:
        """Makes so many updates of one phase, after so many; checks their losses."""
        losses = self.updater(self, self._draws(count))
        check_losses({k: v for k, v in losses.items() if k.endswith("_loss")}, before)
        return losses

    def _begin_stretch(self) -> int:
        """Begins the phase of the next update; the number of updates when it may end."""
        theta = self.settings.theta_updates
        cycle = theta + (self.settings.code_updates if self.actor.learns_codes else 0)
        within = self.updates % cycle
        self._begin_phase("theta" if within < theta else "code")
        self._set_learning_rate()
        phase_end = self.updates - within + (theta if within < theta else cycle)
        return min(phase_end, self.updates - self.updates % ANNEAL_EVERY + ANNEAL_EVERY)

    def _begin_phase(self, phase: str) -> None:
        self.phase = phase
        self.actor.train(
            "code" if phase == "code" else "weights",
            self.steps / self.problem.steps_per_task,
            anew=self.updates % ANNEAL_EVERY == 0,
        )

    def _set_learning_rate(self) -> None:
        """Takes the rates down linearly over the second half of the task."""
        left = min(1.0, 2.0 * (1.0 - self.steps / self.problem.steps_per_task))
        final = self.settings.final_learning_rate
        rate = self.settings.learning_rate * (final + (1.0 - final) * left)
        for optimiser in (*self.actor.optimisers, *self.values.optimisers):
            optimiser.learning_rate = rate

    def _draws(self, count: int) -> Draws:
        replay: Replay = self.replay  # type: ignore[assignment]  # a task has begun
        batches = self.kept.mix(replay.batches(count), len(replay))
        shape = count, 2, *batches.action.shape[1:]
        return Draws(batches, torch.randn(shape, device=self.device))

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.actor.named_parameters()
        yield from self.values.named_parameters().items()

    # -- the task's end -----------------------------------------------------------------------

    def end_task(self) -> dict[str, float]:
        self.actor.end_weights()
        further = self.actor.prune(self.updates)
        if further:
            self._train_on(further)
        facts = self.actor.end_task(self._rows)
        if self.settings.values.heads == "per_task":
            self.values.keep_head(self.actor.task)
        replay: Replay = self.replay  # type: ignore[assignment]  # as above
        self.kept.keep(self.actor.task, replay, self.actor.finished_policy)
        return facts | {"updates": float(self.updates)}

    def _train_on(self, updates: int) -> None:
        """Trains the weights that a mask has kept, without further steps of the environment."""
        for start in range(0, updates, DISTIL_TOGETHER):
            self._begin_phase("theta" if self.actor.teacher is None else "imitation")
            self._make(min(DISTIL_TOGETHER, updates - start), self.updates + start)
        self.updates += updates
        self.actor.end_weights()

    def _rows(self, count: int, generator: Generator) -> Batch:
        return self.replay.sample(count, generator)  # type: ignore[union-attr]  # as above

    # -- what was learned -----------------------------------------------------------------------

    def sub_network(self, task: int) -> MetaPolicy:
        return self.actor.sub_network(self.problem.owner(task))

    def policy(self, task: int) -> TensorDictModule:
        policy = self._explores(on_cpu(self.sub_network(task)))
        acting = ActingPolicy(policy, self.settings.squashed_noise)
        return TensorDictModule(acting, ["observation"], ["action"])

    def prompt_mask(self, embedding: Tensor) -> Tensor:
        """The mask [sum(hidden)] that an embedding [m] alone gives, from today's dictionaries."""
        return self.actor.prompt_mask(embedding)

    def summary(self) -> dict[str, Any]:
        return self.actor.summary() | size_facts(self.actor, self.kept)

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        in_training = self.actor.in_training
        # the buffer is left out where the next task does not ask for it
        wanted = in_training or self.settings.distillation_updates > 0
        replay = self.replay.state_dict() if self.replay is not None and wanted else None
        training = (
            {
                "steps": self.steps,
                "updates": self.updates,
                "phase": self.phase,
                "behaviour": self.acting.get_extra_state(),
                "trials": self.trials.state_dict(),
            }
            if in_training
            else None
        )
        return {
            "actor": self.actor.state_dict(),
            "values": self.values.state_dict(),
            "replay": replay,
            "training": training,
        } | ({"kept": self.kept.state_dict()} if len(self.kept) else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.actor.load_state_dict(state["actor"])
        self.values.load_state_dict(state["values"])
        self.replay = None
        if state["replay"] is not None:
            task = int(state["replay"]["task"])
            self.replay = Replay(self.settings.sampling(self.problem), self.problem, task)
            self.replay.load_state_dict(state["replay"])
        if "kept" in state:
            self.kept.load_state_dict(state["kept"])
        training = state["training"]
        if training is None:
            return
        self.steps, self.updates = int(training["steps"]), int(training["updates"])
        self.phase = str(training["phase"])
        self.trials = Trials(len(self.actor.ownership.shares))
        self.trials.load_state_dict(training["trials"])
        self.begin_acting()
        self.acting.set_extra_state(training["behaviour"])
