"""Imports run downward, and components stay light: read from the syntax tree and from a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cotasp"
BELOW = {  # each room, and the rooms right below it; what lies below those may be imported too
    "__main__": {"__init__", "sweep", "report"},
    "sweep": {"report"},
    "report": {"continual", "__init__"},
    "__init__": {"_version", "_lazy"},
    "continual": {"recipe", "_version"},
    "recipe": {"_yaml", "schema", "learning"},
    "learning": {"modules", "prompting", "tasks"},
    "prompting": {"dictionaries"},
    "modules": {"registry", "_lazy"},
    "tasks": {"registry", "_lazy"},
    "dictionaries": {"registry", "_lazy"},
    "schema": {"registry"},
    "registry": {"errors"},
    "_yaml": {"errors"},
    "_lazy": set(),
    "_version": set(),
    "errors": set(),
}
HEAVY = (
    "torch torchrl tensordict numpy scipy sklearn gymnasium metaworld mujoco "
    "sentence_transformers transformers celer"
)
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """`cotasp.modules.masks` -> `modules`; the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def reachable(room: str) -> set[str]:
    return {room}.union(*(reachable(below) for below in BELOW[room]))


def imported_at_runtime(tree: ast.AST) -> list[str]:
    """Modules that a file imports anywhere, but for what stands under `if TYPE_CHECKING:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name, not a relative one"
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downward(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    imported = imported_at_runtime(ast.parse(path.read_text(encoding="utf-8")))
    rooms = {room_of(module) for module in imported if module.split(".")[0] == "cotasp"}
    assert rooms <= reachable(room), f"{room} imports {sorted(rooms - reachable(room))}"


def test_the_rooms_are_layers_and_modules_stand_alone():
    assert all(room not in reachable(below) for room in BELOW for below in BELOW[room])
    assert not reachable("modules") & {"prompting", "dictionaries"}
    assert not reachable("dictionaries") & {"prompting", "modules", "tasks"}


def test_the_check_sees_an_upward_import():
    tree = ast.parse("def f():\n    from cotasp.prompting.encoders import SBERT\n")
    assert room_of(imported_at_runtime(tree)[0]) == "prompting"
    hidden = "if TYPE_CHECKING:\n    import cotasp.learning\nimport cotasp\n"
    assert [room_of(m) for m in imported_at_runtime(ast.parse(hidden))] == ["__init__"]


def test_recipes_and_all_components_import_nothing_heavy():
    code = (
        "import sys, cotasp.recipe\n"
        "from cotasp.registry import KINDS\n"
        "for registry in KINDS.values():\n"
        "    for name in registry.names():\n"
        "        if registry.location(name).startswith('cotasp.'):\n"
        "            registry.get(name)\n"
        f"print(sorted(set({HEAVY!r}.split()) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
