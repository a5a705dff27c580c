"""A sentence for each of the 50 Meta-World tasks, and for each goal of the toy.

The ten of Continual World (`CW10`) are those used with CoTASP (arXiv 2305.18444); Meta-World's
others are written in their style from what its paper says they are (arXiv 1910.10897).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

CW10: tuple[str, ...] = (
    "hammer-v3",
    "push-wall-v3",
    "faucet-close-v3",
    "push-back-v3",
    "stick-pull-v3",
    "handle-press-side-v3",
    "push-v3",
    "shelf-place-v3",
    "window-close-v3",
    "peg-unplug-side-v3",
)
"""The order of Continual World (arXiv 2105.10919)."""

TEXTS: dict[str, str] = {
    "assembly-v3": "Pick up a nut and slide it onto a peg.",
    "basketball-v3": "Dunk a ball into the basket.",
    "bin-picking-v3": "Grasp a cube in one bin and drop it into the other bin.",
    "box-close-v3": "Grasp a lid and close the box with it.",
    "button-press-topdown-v3": "Press a button from above.",
    "button-press-topdown-wall-v3": "Bypass a wall and press a button from above.",
    "button-press-v3": "Press a button.",
    "button-press-wall-v3": "Bypass a wall and press a button.",
    "coffee-button-v3": "Press the button of the coffee machine.",
    "coffee-pull-v3": "Pull a mug away from the coffee machine.",
    "coffee-push-v3": "Push a mug under the coffee machine.",
    "dial-turn-v3": "Turn a dial half way round.",
    "disassemble-v3": "Lift a nut off a peg.",
    "door-close-v3": "Push and close a door.",
    "door-lock-v3": "Lock the door by turning its lock clockwise.",
    "door-open-v3": "Pull and open a door.",
    "door-unlock-v3": "Unlock the door by turning its lock counter-clockwise.",
    "drawer-close-v3": "Push and close a drawer.",
    "drawer-open-v3": "Pull and open a drawer.",
    "faucet-close-v3": "Rotate the faucet clockwise.",
    "faucet-open-v3": "Rotate the faucet counter-clockwise.",
    "hammer-v3": "Hammer a screw on the wall.",
    "hand-insert-v3": "Insert the gripper into a hole.",
    "handle-press-side-v3": "Press a handle down sideways.",
    "handle-press-v3": "Press a handle down.",
    "handle-pull-side-v3": "Pull a handle up sideways.",
    "handle-pull-v3": "Pull a handle up.",
    "lever-pull-v3": "Pull a lever up.",
    "peg-insert-side-v3": "Insert a peg sideways.",
    "peg-unplug-side-v3": "Unplug a peg sideways.",
    "pick-out-of-hole-v3": "Pick a puck out of a hole and carry it to a goal.",
    "pick-place-v3": "Pick and place a puck to a goal.",
    "pick-place-wall-v3": "Pick a puck, bypass a wall and place the puck to a goal.",
    "plate-slide-back-side-v3": "Slide a plate out of the cabinet sideways.",
    "plate-slide-back-v3": "Slide a plate out of the cabinet.",
    "plate-slide-side-v3": "Slide a plate into the cabinet sideways.",
    "plate-slide-v3": "Slide a plate into the cabinet.",
    "push-back-v3": "Pull a puck to a goal.",
    "push-v3": "Push the puck to a goal.",
    "push-wall-v3": "Bypass a wall and push a puck to a goal.",
    "reach-v3": "Reach a goal.",
    "reach-wall-v3": "Bypass a wall and reach a goal.",
    "shelf-place-v3": "Pick and place a puck onto a shelf.",
    "soccer-v3": "Kick a ball into the net.",
    "stick-pull-v3": "Grasp a stick and pull a box with the stick.",
    "stick-push-v3": "Grasp a stick and push a box with the stick.",
    "sweep-into-v3": "Sweep a puck into a hole.",
    "sweep-v3": "Sweep a puck off the table.",
    "window-close-v3": "Push and close a window.",
    "window-open-v3": "Push and open a window.",
}

GOALS: dict[str, tuple[float, float, str]] = {
    "right": (0.8, 0.0, "Park the car on the right."),
    "left": (-0.8, 0.0, "Slide the book to the left shelf."),
    "top": (0.0, 0.8, "Raise the flag to the top of the mast."),
    "bottom": (0.0, -0.8, "Sink the anchor to the bottom."),
    "upper-right": (0.8, 0.8, "Fly the kite to the upper right."),
    "lower-left": (-0.8, -0.8, "Roll the marble into the lower left hole."),
    "upper-left": (-0.8, 0.8, "Hang the lamp in the upper left corner."),
    "lower-right": (0.8, -0.8, "Kick the ball to the lower right."),
    "centre": (0.0, 0.0, "Keep the cup in the centre of the table."),
}
"""Goal of `PointEnv` by name: x, y and text.

The texts speak of different things: their cosines are 0.2 to 0.55, as between Meta-World's tasks.
Texts that differ in one word (cosine 0.97) get nearly one prompt, and tasks that ask for opposite
actions must not share all their neurons.
"""


def phrasings(env: str, part: Literal["taught", "held_out"] = "taught") -> tuple[str, ...]:
    """Three shipped phrasings of a task besides its text in `TEXTS` or `GOALS`.

    Args:
        env: a key of `TEXTS` or `GOALS`.
        part: those to be taught, or those on which to measure what was not taught.
    """
    return tuple(_shipped_phrasings()[env][part])


def shipped_texts(name: str, taught: bool) -> tuple[str, ...]:
    """The text of a Meta-World task or of a goal, and its taught phrasings if asked for."""
    text = TEXTS[name] if name in TEXTS else GOALS[name][2]
    return (text, *(phrasings(name) if taught else ()))


def shipped_phrasings() -> tuple[tuple[str, ...], ...]:
    """The text and the taught phrasings of every task of `TEXTS` and `GOALS`."""
    texts = TEXTS | {goal: text for goal, (_, _, text) in GOALS.items()}
    return tuple((text, *phrasings(env)) for env, text in texts.items())


@lru_cache(maxsize=1)
def _shipped_phrasings() -> dict[str, dict[str, list[str]]]:
    path = Path(__file__).with_name("phrasings.json")
    return json.loads(path.read_text(encoding="utf-8"))
