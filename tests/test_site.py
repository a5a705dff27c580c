"""The site that `make docs` builds: whole, linked, and read by everybody, without the internet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
LEVELS = ("h1", "h2", "h3", "h4", "h5", "h6")
FETCHED = {"script": "src", "img": "src", "source": "src", "iframe": "src"}
EXTERNAL = ("http", "https", "mailto")
# every text that shows on its ground, both blended, with the ratio of their luminances (WCAG 2.1)
FAINT = """() => {
    const channels = (c) => {
        const n = (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
        const srgb = c.startsWith("color(") ? n.slice(0, 3).map((v) => v * 255) : n.slice(0, 3);
        return [...srgb, n.length > 3 ? n[3] : 1];
    };
    const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
    const light = (c) => c.map((v) => v / 255)
        .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (e) => {
        const layers = [];
        for (let at = e; at; at = at.parentElement) {
            const c = channels(getComputedStyle(at).backgroundColor);
            layers.push(c);
            if (c[3] === 1) break;
        }
        return layers.reverse().reduce((below, c) => over(c, below), [255, 255, 255]);
    };
    const faint = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const e = node.parentElement;
        const shown = e.checkVisibility({opacityProperty: true, visibilityProperty: true});
        if (!node.data.trim() || !shown || e.closest(".headerlink, script, style")) continue;
        const box = e.getBoundingClientRect();
        if (box.width < 2 || box.height < 2) continue;
        const below = ground(e);
        const [a, b] = [light(over(channels(getComputedStyle(e).color), below)), light(below)]
            .sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) faint.set(`${e.tagName}.${e.className}`,
            `${ratio.toFixed(2)} ${e.tagName}.${e.className} ${node.data.trim().slice(0, 30)}`);
    }
    return [...faint.values()];
}"""

# what can be clicked or typed into and has no name that a screen reader could say
NAMELESS = """() => [...document.querySelectorAll("a[href], button, input, select")]
    .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.ariaLabel || e.title
        || e.labels?.length || [...e.querySelectorAll("img")].some((i) => i.alt)))
    .map((e) => `no name: ${e.outerHTML.slice(0, 80)}`)"""


class Page(HTMLParser):
    """What a page has: identifiers, links, headings, and pictures without a text."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.headings: list[int] = []
        self.silent: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag in LEVELS:
            self.headings.append(LEVELS.index(tag) + 1)
        if tag == "img" and not (given.get("alt") or "").strip():
            self.silent.append(given.get("src", "?"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        target = given.get(FETCHED.get(tag, ""))
        if tag == "link" and "canonical" not in given.get("rel", ""):
            target = given.get("href")
        if target:
            self.fetched.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Built strict: whatever MkDocs warns of is an error."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e .[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", folder]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    """All but reports of runs, which have tests of their own, and the page of what is missing."""
    paths = [p for p in site.rglob("*.html") if "results" not in p.relative_to(site).parts]
    return {path: Page(path) for path in paths if path.name != "404.html"}


@pytest.fixture
def tab(browser):
    """A tab without network; whatever it complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda m: m.type == "error" and complaints.append(m.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda r: r.url.startswith(("file:", "data:")) or complaints.append(r.url))
    yield tab
    assert complaints == []
    context.close()


def test_every_page_is_there(pages):
    names = {path.stem for path in pages}
    assert {"index", "faq", "glossary", "changelog", "contributing", "solver", "methods"} <= names


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme in EXTERNAL:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target.suffix == ".html":
                known = pages.get(target) or Page(target)
                if unquote(parts.fragment) not in known.ids:
                    broken.append(f"{path.relative_to(site)}: {link} (no such place)")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(pages):
    for path, page in pages.items():
        assert [f for f in page.fetched if urlsplit(f).scheme or f.startswith("//")] == [], path


def test_headings_make_an_outline(site, pages):
    for path, page in pages.items():
        assert page.headings.count(1) == 1, path.relative_to(site)
        assert page.headings[0] == 1, path.relative_to(site)
        for above, below in zip(page.headings, page.headings[1:]):
            assert below <= above + 1, f"{path.relative_to(site)}: h{below} below h{above}"


def test_every_picture_has_a_text(pages):
    assert [silent for page in pages.values() for silent in page.silent] == []


def test_formulas_are_drawn_whole(pages):
    """What the converter does not know would stand there as LaTeX."""
    formulas = [
        formula
        for path in pages
        for formula in re.findall("<math.*?</math>", path.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert len(formulas) > 30
    assert [formula for formula in formulas if "\\" in formula] == []


def test_every_public_name_is_in_the_reference(pages):
    """A name that is described on the page of another package is linked from its own."""
    from importlib import import_module

    described = set().union(
        *(page.ids for path, page in pages.items() if path.parent.name == "api")
    )
    for path in pages:
        if path.parent.name == "api" and path.stem != "errors":
            package = "cotasp" if path.stem == "cotasp" else f"cotasp.{path.stem}"
            for name in import_module(package).__all__:
                places = [
                    i for i in described if i.endswith(f".{name}") and i.startswith("cotasp.")
                ]
                assert places, f"{package}.{name}"


def test_pages_fit_and_can_be_read(tab, site, pages):
    """At 1280 and 390 pixels nothing sticks out; text has a contrast of 4.5 (WCAG 2.1 AA), and
    whatever can be used a name.
    """
    problems = []
    for path in sorted(pages):
        name = path.relative_to(site)
        tab.goto(path.as_uri(), wait_until="domcontentloaded")
        found = [*tab.evaluate(FAINT), *tab.evaluate(NAMELESS)]
        found += [] if tab.evaluate("document.documentElement.lang") == "en" else ["no language"]
        problems += [f"{name}: {each}" for each in found]
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            if not tab.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                problems.append(f"{name}: wider than {width} pixels")
        tab.set_viewport_size({"width": 1280, "height": 900})
    assert problems == []


@pytest.mark.parametrize("name", ["index", "ablations", "write/protection", "api/modules"])
def test_dark_pages_can_be_read(tab, site, name):
    tab.emulate_media(color_scheme="dark")
    tab.goto((site / f"{name}.html").as_uri())
    assert tab.evaluate("document.body.dataset.mdColorScheme") == "slate"
    assert tab.evaluate(FAINT) == []


def test_commands_are_copied_without_prompt_and_output(tab, site):
    tab.goto((site / "faq.html").as_uri())
    copied = tab.evaluate(  # what the theme's button does
        """() => {
            const code = document.querySelector(".language-console code");
            code.setAttribute("data-md-copying", "");
            return code.innerText;
        }"""
    )
    assert copied.strip() == "cotasp show smoke mask=dens"


def test_search_finds_a_word_offline_by_keyboard(tab, site):
    tab.goto((site / "index.html").as_uri())
    for _ in range(10):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('[data-md-component=search-query]')"):
            break
    tab.keyboard.type("plasticity")
    hits = tab.locator(".md-search-result__link")
    hits.first.wait_for()
    assert any("runs.html" in hit.get_attribute("href") for hit in hits.all())
    tab.keyboard.press("ArrowDown")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert "plasticity" in tab.locator("article").inner_text().lower()


def test_navigation_is_reached_by_keyboard_and_shows_where_it_is(tab, site):
    tab.goto((site / "index.html").as_uri())
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent.trim()") == "Skip to content"
    for _ in range(20):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.matches('nav .md-nav__link[href$=\"runs.html\"]')"):
            break
    style = "getComputedStyle(document.activeElement)"
    assert tab.evaluate(f"{style}.outlineStyle") != "none"
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert tab.url.endswith("runs.html")
