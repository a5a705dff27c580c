"""What shapes networks may have, for their recipe nodes and for the networks themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from cotasp.checks import check
from cotasp.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

Activation = Literal["leaky_relu", "relu", "tanh", "gelu"]
Norm = Literal["all", "first", "none"]
MOST_LAYERS, WIDEST = 64, 65_536  # beyond, a slip of the pen fills the memory


def check_widths(owner: str, hidden: Sequence[int]) -> None:
    """Raises RecipeError unless these are widths of hidden layers.

    Args:
        owner: class whose argument they are.
        hidden: one or more.
    """
    check(tuple[int, ...], hidden, f"{owner}.hidden")
    if not 1 <= len(hidden) <= MOST_LAYERS or min(hidden) < 1:
        raise RecipeError(
            f"{owner}.hidden: expected at least one width, each at least 1, and at most "
            f"{MOST_LAYERS} of them, got {str(list(hidden))[:60]}"
        )
    if max(hidden) > WIDEST:
        raise RecipeError(f"{owner}.hidden: expected at most {WIDEST}, got {max(hidden)}")


def check_actor(
    owner: str,
    hidden: Sequence[int],
    activation: Any,
    norm: Any,
    std: Any,
    log_std_range: Any,
    squash_mean: Any,
    head_scale: Any,
    deviation: Any = None,
) -> None:
    """Raises RecipeError unless a meta-policy of this shape can be built.

    Args:
        owner: class whose arguments these are; see `MetaPolicy`.
    """
    check_body(owner, hidden, activation, norm)
    check(Literal["exp", "softplus"], std, f"{owner}.std")
    check(tuple[float, float], log_std_range, f"{owner}.log_std_range")
    check(bool, squash_mean, f"{owner}.squash_mean")
    check(float, head_scale, f"{owner}.head_scale")
    if head_scale <= 0:
        raise RecipeError(f"{owner}.head_scale: expected above 0, got {head_scale}")
    check(float | None, deviation, f"{owner}.deviation")
    if deviation is not None and deviation <= 0:
        raise RecipeError(f"{owner}.deviation: expected above 0, got {deviation}; null: none")
    if not log_std_range[0] < log_std_range[1]:
        raise RecipeError(f"{owner}.log_std_range: expected [low, high], got {list(log_std_range)}")


def check_body(owner: str, hidden: Sequence[int], activation: Any, norm: Any) -> None:
    """Raises RecipeError unless masked hidden layers of this shape can be built."""
    check_widths(owner, hidden)
    check(Activation, activation, f"{owner}.activation")
    check(Literal["first", "none"], norm, f"{owner}.norm")


def split_layers(place: str, entries: Tensor, hidden: Sequence[int]) -> tuple[Tensor, ...]:
    """Entries [*, sum(hidden)] of all hidden units, layer by layer, [*, K_l] each.

    Args:
        place: of the entries, for the message.
        entries: of a mask or a code.
        hidden: widths K_l.

    Raises:
        RecipeError: there are more or fewer.
    """
    if entries.shape[-1:] != (sum(hidden),):
        raise RecipeError(
            f"{place}: expected an entry for each of the {sum(hidden)} hidden units, got shape "
            f"{list(entries.shape)}; widths are {list(hidden)}, and one mask is for all of them"
        )
    return entries.split(tuple(hidden), dim=-1)
