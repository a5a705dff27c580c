"""Imports run downward, and components stay light: read from the syntax tree and from a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "cotasp"
BELOW = {  # each room, and the rooms right below it; what lies below those may be imported too
    "__main__": {"commands"},
    "commands": {"sweep", "report"},
    "sweep": {"continual", "words"},
    "report": {"continual", "words", "__init__"},
    "testing": {"recipe"},  # nobody imports it but tests, the library's own and others'
    "__init__": {"_version", "_lazy"},
    "continual": {"recipe", "_version", "film"},
    "recipe": {"recipe_files", "schema", "agents", "tasks"},
    "recipe_files": {"_yaml", "registry"},
    "agents": {"methods"},
    "methods": {"modules", "prompting", "storage"},
    "prompting": {"dictionaries", "tasks"},
    "modules": {"checks", "targets", "_lazy"},
    "tasks": {"checks", "_lazy"},
    "dictionaries": {"checks", "_lazy"},
    "checks": {"schema"},
    "schema": {"registry", "ranges"},
    "ranges": set(),
    "registry": {"errors"},
    "_yaml": {"errors"},
    "_lazy": set(),
    "_version": set(),
    "storage": {"targets", "_version", "_lazy"},
    "film": {"targets", "_lazy"},
    "words": set(),
    "targets": {"errors"},
    "errors": set(),
}
HEAVY = (
    "torch torchrl tensordict numpy scipy sklearn gymnasium metaworld mujoco "
    "sentence_transformers transformers celer"
)
FILES = sorted(PACKAGE.rglob("*.py"))
WHEN = ("for types", "in a function", "at the top")  # the likeliest to close a circle first


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
    assert "sweep" not in reachable("report")
    assert "report" not in reachable("sweep")
    assert reachable("storage") == {"storage", "_version", "_lazy", "targets", "errors"}
    assert not reachable("dictionaries") & {"prompting", "modules", "tasks"}


def test_the_check_sees_an_upward_import():
    tree = ast.parse("def f():\n    from cotasp.prompting.encoders import SBERT\n")
    assert room_of(imported_at_runtime(tree)[0]) == "prompting"
    hidden = "if TYPE_CHECKING:\n    import cotasp.agents\nimport cotasp\n"
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


class Import(NamedTuple):
    """One module's import of another; names are without the package's."""

    source: str
    target: str
    line: int
    when: str  # one of `WHEN`

    @property
    def pair(self) -> str:
        return f"{self.source} -> {self.target}"


def package_trees() -> dict[str, ast.AST]:
    """The syntax tree of every module, by name: `modules.masks`; `` is the package itself."""
    trees: dict[str, ast.AST] = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def statements(
    node: ast.AST, when: str = "at the top"
) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Import statements, and when they are run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, when
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from statements(ast.Module(child.body, []), "for types")
            yield from statements(ast.Module(child.orelse, []), when)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            later = inside and when == "at the top"
            yield from statements(child, "in a function" if later else when)


def lazy_exports(package: ast.AST) -> dict[str, str]:
    """What a package gives `cotasp._lazy.lazy_exports`: public name to submodule."""
    for node in ast.walk(package):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_exports":
            return ast.literal_eval(node.args[1])
    return {}


def imports_of(trees: Mapping[str, ast.AST]) -> list[Import]:
    """All imports of one module of the package by another; lazy exports lead to their module."""
    exports = {name: lazy_exports(tree) for name, tree in trees.items()}

    def defining(module: str, name: str) -> str:
        within = f"{module}.{name}".lstrip(".")
        if within in trees:
            return within
        if name in exports[module]:
            return defining(f"{module}.{exports[module][name]}".lstrip("."), name)
        return module

    found = []
    for source, tree in trees.items():
        for node, when in statements(tree):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.Import):
                targets = {n.partition(".")[2] for n in names if n.split(".")[0] == "cotasp"}
            elif node.module.split(".")[0] == "cotasp":
                targets = {defining(node.module.partition(".")[2], name) for name in names}
            else:
                continue
            found += [Import(source, t, node.lineno, when) for t in targets - {source}]
    return sorted(found)


def way(imports: Iterable[Import], start: str, goal: str) -> list[Import] | None:
    """The shortest chain of imports from one module to another; None: there is none."""
    leaving: dict[str, list[Import]] = {}
    for each in imports:
        leaving.setdefault(each.source, []).append(each)
    ways: dict[str, list[Import]] = {start: []}
    for module in (queue := [start]):
        for each in leaving.get(module, ()):
            if each.target not in ways:
                ways[each.target] = [*ways[module], each]
                queue.append(each.target)
    return ways.get(goal)


def a_circle(imports: list[Import]) -> list[Import] | None:
    """A circle, from the import that closes it on; None: there is none."""
    for each in sorted(imports, key=lambda each: WHEN.index(each.when)):
        back = way(imports, each.target, each.source)
        if back is not None:
            return [each, *back]
    return None


def described(circle: list[Import]) -> str:
    lines = [f"  {each.pair} (line {each.line}, {each.when})" for each in circle]
    return "\n".join([f"{circle[0].pair} closes a circle of imports:", *lines])


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return imports_of(package_trees())


def test_no_modules_import_in_circles_inside_rooms_too(imports):
    circle = a_circle(imports)
    assert circle is None, described(circle)


def test_the_check_sees_circles_and_names_what_closes_them():
    trees = {
        "": "",
        "room": "__getattr__, *_ = lazy_exports(__name__, {'Light': 'light'})",
        "room.light": "def f():\n    from cotasp.room.heavy import g",
        "room.heavy": "if TYPE_CHECKING:\n    from cotasp.room import Light\nimport cotasp.other",
        "other": "from torch import Tensor",
    }
    seen = imports_of({name: ast.parse(text) for name, text in trees.items()})
    assert [i[:2] + i[3:] for i in seen] == [
        ("room.heavy", "other", "at the top"),
        ("room.heavy", "room.light", "for types"),
        ("room.light", "room.heavy", "in a function"),
    ]
    assert described(a_circle(seen)).splitlines() == [
        "room.heavy -> room.light closes a circle of imports:",
        "  room.heavy -> room.light (line 2, for types)",
        "  room.light -> room.heavy (line 2, in a function)",
    ]
    assert a_circle([i for i in seen if i.when != "for types"]) is None
