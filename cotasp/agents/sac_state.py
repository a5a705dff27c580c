"""The whole state of a continual SAC learner, in the middle of a task or between two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cotasp.errors import RunError
from cotasp.methods.replay import Replay
from cotasp.storage.tensors import check_shapes

if TYPE_CHECKING:
    from cotasp.agents.sac_learner import SACLearner

_MODULES = ("meta_policy", "prompter", "values")
_SAME_TEXT = 1e-4  # largest difference of a text's embedding from one machine to another


def learner_state(learner: SACLearner) -> dict[str, Any]:
    """Everything, as nested mappings of tensors, numbers and `Rows`.

    What concerns a task in training stands under `training`, None between tasks.  The buffer is
    left out where the next task does not ask for it.
    """
    in_training = learner.in_training
    if in_training:
        learner.sub.write_back()
    wanted = in_training or learner.settings.distillation_updates > 0
    replay = learner.replay.state_dict() if learner.replay is not None and wanted else None
    return {
        "task": learner.task,
        **{name: getattr(learner, name).state_dict() for name in _MODULES},
        "ownership": learner.ownership.state_dict(),
        "codes": learner.codes,
        "embeddings": learner.embeddings,
        "protection": learner.memory,
        "replay": replay,
        "training": _training(learner) if in_training else None,
    }


def _training(learner: SACLearner) -> dict[str, Any]:
    return {
        "steps": learner.steps,
        "updates": learner.updates,
        "phase": learner.phase,
        "code": learner.code.detach(),
        "code_optimiser": learner.code_optimiser.state_dict(),
        "sub": learner.sub.state_dict(),
        "behaviour": learner.acting.get_extra_state(),
    }


def load_learner_state(learner: SACLearner, state: Mapping[str, Any]) -> None:
    """Restores what `learner_state` returned.

    Of the tasks that had not begun, the learner keeps its own texts: they may be others.

    Raises:
        RunError: the state knows tasks that the learner does not, or by other embeddings.
    """
    learner.task = int(state["task"])
    _load_tasks(learner, state)
    for name in _MODULES:
        getattr(learner, name).load_state_dict(state[name])
    device = learner.device
    learner.memory = {
        kind: {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
        for kind, tensors in state["protection"].items()
    }
    learner.replay = None
    if state["replay"] is not None:
        task = int(state["replay"]["task"])
        learner.replay = Replay(learner.settings.sampling(learner.problem), learner.problem, task)
        learner.replay.load_state_dict(state["replay"])
    if state["training"] is not None:
        _load_training(learner, state["training"])


def _load_tasks(learner: SACLearner, state: Mapping[str, Any]) -> None:
    begun = learner.task + 1
    saved = state["embeddings"]
    if begun > len(learner.embeddings) or saved.shape[1] != learner.embeddings.shape[1]:
        raise RunError(
            f"expected at most {len(learner.embeddings)} tasks with embeddings of "
            f"{learner.embeddings.shape[1]} numbers, got {begun} of {saved.shape[1]}"
        )
    if not torch.allclose(learner.embeddings[:begun], saved[:begun], rtol=0, atol=_SAME_TEXT):
        raise RunError("the encoder gives the tasks other embeddings than it did")
    learner.embeddings[:begun] = saved[:begun]
    for mine, name in ((learner.codes, "codes"), (learner.ownership.masks, "ownership")):
        rows = state[name]["masks"] if name == "ownership" else state[name]
        if rows.shape[1] != mine.shape[1]:
            raise RunError(f"{name}: expected {mine.shape[1]} neurons, got {rows.shape[1]}")
        mine.zero_()
        mine[:begun] = rows[:begun].to(mine)
    learner.ownership.finished.zero_()
    learner.ownership.finished[:begun] = state["ownership"]["finished"][:begun].to(learner.device)


def _load_training(learner: SACLearner, state: Mapping[str, Any]) -> None:
    learner.steps, learner.updates = int(state["steps"]), int(state["updates"])
    learner.phase = str(state["phase"])
    check_shapes("task", {"code": state["code"]}, {"code": learner.codes.shape[1:]})
    learner.code = nn.Parameter(state["code"].to(learner.device, copy=True))
    learner.new_code_optimiser()
    learner.code_optimiser.load_state_dict(state["code_optimiser"])
    learner.guard = learner.protection.guard(learner.meta_policy, learner.ownership)
    learner.sub.begin_task(learner.guard, learner.memory)
    learner.sub.load_state_dict(state["sub"])
    learner.begin_acting()
    learner.acting.set_extra_state(state["behaviour"])
