"""`cotasp new`."""

from __future__ import annotations

import argparse
import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cotasp.commands._common import add_verb
from cotasp.errors import RecipeError, RunError
from cotasp.registry import KINDS

EPILOG = """examples:
  cotasp new plugin my-mask --kind mask       writes the folder my-mask: a component, its test
"""
CHECKED = {  # what a check is called with, where the defaults do not fit its small tasks
    "protection": "{cls}(weight=10.0)",
    "memory": "{cls}(size=30)",
    "renewal": "{cls}(every=3, threshold=0.9)",
    "agent": """
        {cls}(
            batch_size=16,
            n_step=3,
            buffer_size=1000,
            theta_updates=7,
            code_updates=2,
            warmup_steps=13,
            distillation_updates=3,
        )
    """,
}
USED = {  # where a recipe names a component of a kind that is not its key
    "solver": "dictionary.solver={name}",
    "update": "dictionary.update={name}",
    "critic": "agent.critic={name}",
    "renewal": "renewals=[{name}]",
}
PYPROJECT = """[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "{project}"
version = "0.1.0"
description = "{kind} {name} for cotasp"
readme = "README.md"
dependencies = ["cotasp"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points."cotasp.{kind}"]
{name} = "{name}:{cls}"

[tool.setuptools]
package-dir = {{"" = "src"}}
py-modules = ["{name}"]
"""
README = """# {project}

The {kind} `{name}` for [cotasp](https://arxiv.org/abs/2305.18444), a library of continual
reinforcement learning. The class `{cls}` in `src/{name}.py` is all there is: its fields are its
keys in a recipe, and their defaults are the recipe's defaults.

```sh
python -m pip install -e '.[test]'
python -m pytest
cotasp list {kind}
{use}
```

The test asks `cotasp.testing` for what every {kind} promises. Add tests of what yours promises
alone.
"""
TEST = '''"""What every {kind} promises, and that recipes find this one by its name."""

from {name} import {cls}

{imported}

def test_contract():
    {call}


def test_recipes_find_it_by_name():
    assert KINDS["{kind}"].get("{name}") is {cls}  # else: pip install -e '.[test]'
'''


def add_arguments(subparsers: Any) -> None:
    """Adds the verb and its arguments."""
    parser = add_verb(subparsers, "new", "Write a plug-in package to begin with.", EPILOG)
    parser.add_argument("what", choices=["plugin"], help="plugin: a component of your own")
    parser.add_argument("name", metavar="NAME", help="of the package, its folder and component")
    parser.add_argument("--kind", required=True, choices=tuple(KINDS), help="of the component")


def main(arguments: argparse.Namespace) -> None:
    """Writes the package, unless the name is taken."""
    project, kind = arguments.name, arguments.kind
    folder = Path(project)
    check_name(project, kind)
    try:
        folder.mkdir()
        for path, text in package(project, kind).items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise RunError(f"{project}: is there already; choose another name") from error
    except OSError as error:
        raise RunError(f"{project}: cannot be written: {error.strerror}") from error
    print(f"{project}/src/{module_name(project)}.py has the component, {project}/tests its test")
    install = f"python -m pip install -e '{project}[test]'"
    print(f"done: {project}; next: {install} && python -m pytest {project}")


def module_name(project: str) -> str:
    """Name of the module and of the component: the project's, as an identifier."""
    return project.replace("-", "_")


def class_name(project: str, kind: str, taken: str) -> str:
    """The project's name in camel case, with its kind where that word is in use.

    Args:
        project: its name.
        kind: of its component.
        taken: the text that the class is written into.

    >>> class_name("my-top2", "mask", "")
    'MyTop2'
    >>> class_name("task", "stream", "from cotasp.tasks import Task")
    'TaskStream'
    """
    name = "".join(part.capitalize() for part in re.split("[-_]", project))
    used = keyword.iskeyword(name) or re.search(rf"\b{name}\b", taken)
    return f"{name}{kind.capitalize()}" if used else name


def check_name(project: str, kind: str) -> None:
    """Raises RecipeError for a name that is no package's, or taken; RunError for a folder there."""
    if not re.fullmatch("[a-z][a-z0-9]*([-_][a-z0-9]+)*", project) or len(project) > 60:
        raise RecipeError(
            f"NAME: expected at most 60 lower-case letters, digits and single hyphens, a letter "
            f"first, as in my-{kind}, got {project[:60]!r}"
        )
    if Path(project).exists():
        raise RunError(f"{project}: is there already; choose another name")
    name = module_name(project)
    if name in KINDS[kind].names():
        raise RecipeError(
            f"NAME: the {kind} {name!r} is there already, as "
            f"{KINDS[kind].location(name)}; choose another name"
        )
    if keyword.iskeyword(name) or find_spec(name) is not None:
        what = "a word of Python" if keyword.iskeyword(name) else "a module that is there already"
        raise RecipeError(f"NAME: {name!r} is {what}; choose another name, as my-{project}")


def package(project: str, kind: str) -> dict[str, str]:
    """The package's files: path to text."""
    template = (Path(__file__).parent / "templates" / f"{kind}.py").read_text(encoding="utf-8")
    name = module_name(project)
    cls = class_name(project, kind, template + _check(kind, "")["imported"])
    words = {"project": project, "kind": kind, "name": name, "cls": cls}
    module = re.sub(r"\bExample\b", cls, template)
    use = USED.get(kind, f"{kind}={{name}}").format(**words)
    run = f"cotasp run smoke '{use}'"
    if kind == "launcher":
        run = f"cotasp sweep smoke --seeds 2 --launcher {name}"
    return {
        "pyproject.toml": PYPROJECT.format(**words),
        "README.md": README.format(**words, use=run),
        f"src/{name}.py": module,
        f"tests/test_{name}.py": TEST.format(**words, **_check(kind, cls)),
    }


def _check(kind: str, cls: str) -> dict[str, str]:
    """The test's call, and what it imports for it."""
    registry = "from cotasp.registry import KINDS\n"
    if kind == "launcher":
        call = f"pool = {cls}().open()\n    assert list(pool.ended(0.0)) == []\n    pool.close()"
        return {"imported": registry, "call": call}
    check = "check_update_rule" if kind == "update" else f"check_{kind}"
    imported = f"{registry}from cotasp.testing import {check}\n"
    arguments = CHECKED.get(kind, "{cls}()").format(cls=cls)
    if kind == "recall":
        imported = f"from cotasp.prompting import RandomEncoder\n{imported}"
        arguments += ", RandomEncoder()"
    return {"imported": imported, "call": f"{check}({arguments})"}
