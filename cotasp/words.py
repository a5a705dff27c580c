"""Words for people: what tables, pages and progress bars say in the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_text(value: Any) -> str:
    """A recipe's value in few words: a component by its name.

    >>> as_text({"name": "topk", "k": 9}), as_text(0.1), as_text([1, 2])
    ('topk', '0.1', '[1, 2]')
    """
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def counted(number: int, thing: str) -> str:
    """A number of things, in words.

    >>> counted(1, "seed"), counted(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"


def between_commas(text: str) -> list[str]:
    """What stands between commas outside brackets.

    >>> between_commas("hidden=[8,8], k=3")
    ['hidden=[8,8]', 'k=3']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
