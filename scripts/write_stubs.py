"""Writes `__init__.pyi` of each package whose exports are lazy, for type checkers and editors.

python scripts/write_stubs.py
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "cotasp"
HEADING = "# written by scripts/write_stubs.py from the table in __init__.py\n"


def stubs() -> dict[Path, str]:
    """The text of every stub, by its path."""
    found = {}
    for path in sorted(PACKAGE.rglob("__init__.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
        tables = [n.args[1] for n in calls if ast.unparse(n.func) == "lazy_exports"]
        if tables:
            package = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
            found[path.with_suffix(".pyi")] = _stub(package, tree, ast.literal_eval(tables[0]))
    return found


def _stub(package: str, tree: ast.Module, exports: dict[str, str]) -> str:
    lines = [
        f"from {package}.{module} import {name} as {name}"
        for name, module in sorted(exports.items(), key=lambda item: (item[1], item[0]))
    ]
    lines += [
        f"from {node.module} import {alias.name} as {alias.asname}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    return HEADING + "".join(f"{line}\n" for line in sorted(lines))


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text, encoding="utf-8")
