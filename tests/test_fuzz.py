"""A thousand spoilt recipes: each ends in one readable line and exit code 2, and soon.

How soon is measured by `benchmarks/start.py`; here a process is ended that does not end by itself.
"""

from __future__ import annotations

import copy
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotasp.__main__ import main
from cotasp.recipe import load, to_node

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SECONDS, MEGABYTES = 60, 500  # of the processor: what no busy machine takes
ODD = [
    "",
    " ",
    "\u202e",
    "Ω",
    "\N{PILE OF POO}",
    "a" * 5000,
    "..",
    "$",
    "null",
    "__class__",
    "\x85",
]


def leaves(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where a recipe's values stand."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def at(node: Any, path: tuple) -> Any:
    for key in path:
        node = node[key]
    return node


def some_leaf(node: dict, draw: random.Random, kinds: tuple[type, ...]) -> tuple[Any, Any]:
    """A container and the key in it of a value of one of these kinds."""
    paths = [p for p in leaves(node) if type(at(node, p)) in kinds]
    *path, key = draw.choice(paths)
    return at(node, tuple(path)), key


def mappings(node: dict) -> list[dict]:
    found = [node]
    for value in node.values():
        if isinstance(value, dict):
            found += mappings(value)
    return found


def unknown_key(node: dict, draw: random.Random) -> None:
    mapping = draw.choice(mappings(node))
    known = draw.choice(list(mapping))
    place = draw.randrange(len(known) + 1)
    typo = known[:place] + draw.choice("abcxyz_éß") + known[place:]
    mapping[draw.choice([typo, *ODD])] = draw.choice([1, "x", None, [], {}])


def unknown_name(node: dict, draw: random.Random) -> None:
    named = [mapping for mapping in mappings(node) if "name" in mapping]
    draw.choice(named)["name"] = draw.choice([*ODD, "stepp", "os.system", 3, None, ["lars"], {}])


def wrong_type(node: dict, draw: random.Random) -> None:
    container, key = some_leaf(node, draw, (int, float, bool))
    container[key] = draw.choice(["x", [1], {"a": 1}, {}, [], *ODD])


def wrong_container(node: dict, draw: random.Random) -> None:
    mapping = draw.choice([m for m in mappings(node) if any(map(is_mapping, m.values()))])
    key = draw.choice([k for k, v in mapping.items() if is_mapping(v)])
    mapping[key] = draw.choice([3, -1.5, True, None, [], [[]], "no-such-name"])


def is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def deep(node: dict, draw: random.Random) -> None:
    container, key = some_leaf(node, draw, (int, float, bool))
    nest: Any = 1
    for _ in range(draw.choice([2, 30, 200])):
        nest = draw.choice([[nest], {"a": nest}])
    container[key] = nest


def huge_number(node: dict, draw: random.Random) -> None:
    container, key = some_leaf(node, draw, (int, float))
    container[key] = draw.choice([10**400, -(10**400), "1e999", "-.inf", ".nan", 1e308 * 10])


def huge_size(node: dict, draw: random.Random) -> None:
    size = draw.choice([10**6, 10**9, 10**15])
    draw.choice(
        [
            lambda: node["actor"].update(hidden=[size]),
            lambda: node["actor"].update(hidden=[8] * (size % 999_000 + 100)),
            lambda: node["agent"].update(critic={"hidden": [64, size]}),
            lambda: node["agent"].update(buffer_size=size * 10**4),
            lambda: node["agent"].update(batch_size=size * 10**4),
            lambda: node["evaluation"].update(episodes=size),
            lambda: node.update(encoder={"name": "random", "dim": size}),
        ]
    )()


def below_range(node: dict, draw: random.Random) -> None:
    node["agent"][draw.choice(["batch_size", "theta_updates", "learning_rate"])] = -draw.randrange(
        9
    )
    node["steps_per_task"] = draw.choice([0, -5, 7.5, "7"])


def as_text(change: Callable[[str, random.Random], str]) -> Callable[[dict, random.Random], str]:
    return lambda node, draw: change(yaml.safe_dump(node, allow_unicode=True), draw)


def bomb(text: str, draw: random.Random) -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, two in zip("abcdefghi", "bcdefghij"):
        lines.append(f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]")
    return draw.choice(["\n".join(lines) + "\n" + text, text + "x: &x {y: *x}\n", "&a [*a]"])


def tagged(text: str, draw: random.Random) -> str:
    tag = draw.choice(["python/object/apply:os.system", "python/name:os.system", "binary", "set"])
    return draw.choice([f"{text}extra: !!{tag} [echo]\n", f"!!{tag} {{}}", f"seed: !{tag} 1\n"])


def long_or_broken(text: str, draw: random.Random) -> str:
    place = draw.randrange(1, len(text))
    return draw.choice(
        [
            "[" * draw.choice([500, 5_000, 90_000]),
            "{a: " * draw.choice([500, 20_000]),
            text + "# " + "x" * 10_000_000,
            "- " * 40_000,
            text + "question: " + "'" * 50_001,
            text[:place]
            + draw.choice(["\x00", "\x07", "\ud800", "{", "\t- ]", "%"])
            + text[place:],
            text + "seed: 1\n",
            "",
            "null",
            "[]",
            text + "---\n" + text,
        ]
    )


MUTATIONS = [unknown_key, unknown_name, wrong_type, wrong_container, deep, huge_number, huge_size]
MUTATIONS += [below_range, as_text(bomb), as_text(tagged), as_text(long_or_broken)]


def spoilt(number: int, nodes: list[dict]) -> bytes:
    """Recipe number so-and-so of a thousand."""
    draw = random.Random(number)
    node = copy.deepcopy(draw.choice(nodes))
    text = MUTATIONS[number % len(MUTATIONS)](node, draw)
    if text is None:
        text = yaml.safe_dump(node, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def nodes() -> list[dict]:
    return [to_node(load(path)) for path in RECIPES]


def memory() -> int:
    """The most that this process has ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_a_thousand_spoilt_recipes(start, nodes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = memory()
    for number in range(start, start + 100):
        Path("spoilt.yaml").write_bytes(spoilt(number, nodes))
        code = main(["run", "spoilt.yaml", "--quiet", "--out", "out"])
        error = capsys.readouterr().err
        assert code == 2, (number, error)
        assert error.startswith("cotasp: error: "), number
        assert len(error.splitlines()) == 1, (number, error)
        assert len(error) < 1_100, number
        assert not Path("out").exists(), number
    assert memory() - before < MEGABYTES


@pytest.mark.parametrize("number", range(0, 1000, 91))
def test_some_of_them_as_processes_of_their_own(number, nodes, tmp_path):
    (tmp_path / "spoilt.yaml").write_bytes(spoilt(number, nodes))
    limit = MEGABYTES * 2**20
    done = subprocess.run(
        [sys.executable, "-m", "cotasp", "run", "spoilt.yaml", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
        ),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("cotasp: error: ")
    assert len(done.stderr.splitlines()) == 1
