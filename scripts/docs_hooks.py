"""Hooks of MkDocs: pages that are written from source, links out of docs/, formulas as MathML."""

from __future__ import annotations

import argparse
import ast
import html
import os
import re
import sys
from pathlib import Path

from griffe import Extension
from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
REPEATED = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# to a file of the repository, out of docs/
LINKED = re.compile(r"\]\((?:\.\./)+((?:examples|results)/[\w./-]+)(#[\w-]+)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
CODE = re.compile(r"(`[^`]*`|\$[^$]+\$)")
MATH = re.compile(r":math:`([^`]+)`")
MARKUP = re.compile(r"^(\s*\* )|\*|>", re.MULTILINE)  # bullets stay


class PlainText(Extension):
    """Docstrings are plain text with formulas: what looks like Markdown's emphasis is none."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            parts = obj.docstring.value.split("\n\n")
            examples = next((i for i, p in enumerate(parts) if "Examples:" in p), len(parts))
            parts[:examples] = map(self.paragraph, parts[:examples])
            obj.docstring.value = "\n\n".join(parts)

    @staticmethod
    def paragraph(text: str) -> str:
        """One without Markdown by accident; an example is set as code."""
        if text.lstrip().startswith(">>>"):
            return f"```pycon\n{text}\n```"
        if text.lstrip().startswith(".. math::"):
            return f"$${text.partition('::')[2].strip()}$$"
        pieces = CODE.split(MATH.sub(r"$\1$", text))
        escaped = {"*": r"\*", ">": "&gt;"}
        pieces[::2] = (MARKUP.sub(lambda m: m[1] or escaped[m[0]], p) for p in pieces[::2])
        return "".join(pieces)


def on_files(files, config):
    """Adds the pages of the API, the pages that lie at the root, and files that pages link to."""
    for package in ("cotasp", *sorted(_packages()), "cotasp.errors"):
        name = package.partition(".")[2] or package
        files.append(File.generated(config, f"api/{name}.md", content=api_page(package)))
    files.append(File.generated(config, "commands.md", content=commands_page()))
    for source, page in REPEATED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    pages = [file for file in files if file.is_documentation_page()]
    linked = {m[0] for page in pages for m in LINKED.findall(page.content_string)}
    for path in sorted(linked):
        found = ROOT / path
        for each in sorted(found.rglob("*")) if found.is_dir() else [found]:
            if each.is_file():
                name = each.relative_to(ROOT).as_posix()
                files.append(File.generated(config, name, abs_src_path=str(each)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Points links to files of the repository at their copies in the site."""
    up = "../" * page.file.src_uri.count("/")
    for source, target in REPEATED.items():
        markdown = markdown.replace(f"]({source})", f"]({target})")
        markdown = markdown.replace(f"](../{source})", f"]({target})")
    markdown = (
        markdown.replace("](docs/", "](") if page.file.src_uri == "contributing.md" else markdown
    )
    return LINKED.sub(lambda link: f"]({up}{link[1]}{link[2] or ''})", markdown)


def on_page_content(content, page, config, files):
    """Writes formulas as MathML, which browsers draw without a script."""

    def drawn(match):
        kind = "block" if match[1] == "div" else "inline"
        latex = " ".join(html.unescape(match[2]).split()).replace("||", r"\Vert ")
        return convert(latex, display=kind)

    return FORMULA.sub(drawn, content)


def _packages() -> list[str]:
    """Packages of cotasp that export names."""
    found = (ROOT / "cotasp").glob("*/__init__.py")
    return [f"cotasp.{path.parent.name}" for path in found if exports(f"cotasp.{path.parent.name}")]


def exports(package: str) -> dict[str, str]:
    """Public names of a package, each with the submodule that it is from."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    if not path.is_file():
        return {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "lazy_exports":
            return ast.literal_eval(node.args[1])
    return {}


def commands_page() -> str:
    """Markdown of what `cotasp VERB --help` says, of all verbs."""
    sys.path.insert(0, str(ROOT))
    os.environ["COLUMNS"] = "80"  # that help is wrapped at
    from cotasp.__main__ import parser

    top = parser()
    verbs = next(a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
    parts = ["# Command line", "Each command with `--help` says what stands here."]
    for name, each in {"": top, **verbs}.items():
        parts += [
            f"## {f'cotasp {name}'.strip()}",
            f"``` {{ .text .help }}\n{each.format_help()}```",
        ]
    return "\n\n".join(parts)


def source_of(package: str, name: str) -> str:
    """Where a public name is defined, `package.module.name`."""
    module = f"{package}.{exports(package)[name]}"
    return source_of(module, name) if name in exports(module) else f"{module}.{name}"


def api_page(package: str) -> str:
    """Markdown of a package's page: its docstring, and every public name."""
    names = exports(package)
    lines = [f"# {package}", "", f"::: {package}", "    options:"]
    lines += [] if not names else ["      members: false"]  # a plain module has them itself
    lines += ["      show_root_heading: false", "      show_root_toc_entry: false", ""]
    above = {} if package == "cotasp" else {source_of("cotasp", n): n for n in exports("cotasp")}
    repeated = [source for name in names if (source := source_of(package, name)) in above]
    if repeated:  # each is described once
        links = ", ".join(f"[`cotasp.{above[source]}`][{source}]" for source in sorted(repeated))
        lines += [f"Also here: {links}.", ""]
    for source in (source_of(package, name) for name in sorted(names)):
        lines += [] if source in repeated else [f"::: {source}", ""]
    return "\n".join(lines)
