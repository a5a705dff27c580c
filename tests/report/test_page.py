"""The page in a real browser: it loads, shows something everywhere, sorts, and can be read."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cotasp.__main__ import main
from tests.report.synthetic import make_run, make_runs, recipe

SECTIONS = [
    "notes",
    "recipes",
    "results",
    "metrics",
    "aggregates",
    "success",
    "returns",
    "training",
    "plane",
    "threshold",
    "tasks",
    "similarity",
    "dictionaries",
    "cost",
]
SCHEMES = ["light", "dark"]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    variants = {
        name: ((f"dictionary.update={name}",), skill)
        for name, skill in (("anchored", 0.9), ("online", 0.5), ("frozen", 0.4))
    }
    make_runs(folder / "runs", variants, range(4), tasks=4)
    make_run(folder / "runs" / "<script>alert(1)</script>", recipe(4), 3)
    argv = ["report", str(folder / "runs"), "--out", str(folder / "out"), "--baseline"]
    assert main([*argv, "update=frozen"]) == 0
    return folder / "out"


@pytest.fixture
def page(browser, report, request):
    """The page, without network; whatever it complains of fails the test."""
    scheme, width = getattr(request, "param", ("light", 1200))
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True
    )
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: r.url.startswith("file:") or complaints.append(r.url))
    page.goto((report / "index.html").as_uri())
    yield page
    assert complaints == []
    context.close()


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)


@pytest.mark.parametrize(
    "page", [(s, w) for s in SCHEMES for w in (1200, 390)], indirect=True, ids=str
)
def test_every_section_shows_something_and_fits(page):
    sections = [s.get_attribute("id") for s in page.query_selector_all("section")]
    assert sections == SECTIONS
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in sections:
        image = pixels(page.locator(f"#{name}").screenshot())
        assert image.std() > 3, f"{name} is empty"
    for svg in page.query_selector_all("figure > svg"):
        assert pixels(svg.screenshot()).std() > 3


@pytest.mark.parametrize("page", [("light", 390)], indirect=True, ids=str)
def test_a_table_says_that_there_is_more_until_it_is_in_sight(page):
    hint = page.locator("#results .more")
    assert "Scroll for more columns" in hint.text_content()
    box = page.locator("#results .scroll")
    assert "right" in box.get_attribute("class").split()
    box.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
    page.wait_for_function("!document.querySelector('#results .scroll').matches('.right')")
    assert "columns" not in hint.text_content()


def test_light_and_dark_differ(browser, report):
    shades = {}
    for scheme in SCHEMES:
        page = browser.new_page(color_scheme=scheme)
        page.goto((report / "index.html").as_uri())
        shades[scheme] = pixels(page.screenshot()).mean()
        page.close()
    assert shades["light"] > 200
    assert shades["dark"] < 70


@pytest.mark.parametrize("page", [(s, 1200) for s in SCHEMES], indirect=True, ids=str)
def test_text_can_be_read_on_its_ground(page):
    """Contrast of at least 4.5 (WCAG 2.1 AA), of running text, notes and notices."""
    contrast = """(selector) => {
        const e = document.querySelector(selector);
        const light = (c) => {
            const [r, g, b] = c.match(/[\\d.]+/g).map((v) => v / 255)
                .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        let ground = e;
        while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
            ground = ground.parentElement;
        const [a, b] = [getComputedStyle(e).color, getComputedStyle(ground).backgroundColor]
            .map(light).sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    }"""
    for selector in ("h1", ".facts li", "nav a", ".notice li", ".notes li", "td", "th button"):
        assert page.evaluate(contrast, selector) >= 4.5, selector


def column(page, table: str, index: int) -> list[str]:
    cells = page.query_selector_all(f"#{table} tbody tr > :nth-child({index + 1})")
    return [cell.text_content() for cell in cells]


def test_columns_sort_by_value_both_ways(page):
    headers = page.query_selector_all("#tasks thead th")
    names = [header.text_content() for header in headers]
    index = names.index("at end")
    before = column(page, "tasks", index)
    button = headers[index].query_selector("button")
    for state in ("ascending", "descending"):
        button.press("Enter")
        assert headers[index].get_attribute("aria-sort") == state
        values = [float(text.split()[0].split("[")[0]) for text in column(page, "tasks", index)]
        assert values == sorted(values, reverse=state == "descending")
    assert sorted(before) == sorted(column(page, "tasks", index))
    headers[0].query_selector("button").click()
    assert headers[index].get_attribute("aria-sort") == "none"
    assert column(page, "tasks", 0) == sorted(column(page, "tasks", 0))


def test_what_has_no_value_is_sorted_last(page):
    headers = page.query_selector_all("#results thead th")
    index = [header.text_content() for header in headers].index("P(better)")
    for _ in range(2):
        headers[index].query_selector("button").click()
        assert column(page, "results", index)[-1] == "-"


def test_values_are_shown_by_pointer_and_by_keyboard(page):
    tip = page.locator("#tip")
    assert tip.is_hidden()
    page.locator("#plane .mark > :is(circle, polygon)").first.hover()  # not between error bars
    assert tip.is_visible()
    assert "plasticity" in tip.text_content()
    page.mouse.move(0, 0)  # else what scrolls under the pointer shows its value, too
    tip.wait_for(state="hidden")
    figure = page.locator("#success figure > svg").first
    figure.focus()
    page.keyboard.press("ArrowRight")
    first = tip.text_content()
    assert "update=anchored: " in first
    page.keyboard.press("ArrowRight")
    assert tip.text_content() != first
    page.keyboard.press("Escape")
    tip.wait_for(state="hidden")


def test_everything_can_be_reached_and_is_named(page):
    """Figures, tables and buttons have names; the first tabs show where the focus is."""
    for svg in page.query_selector_all("figure > svg"):
        assert svg.get_attribute("role") == "img"
        assert len(svg.get_attribute("aria-label")) > 20
    for table in page.query_selector_all("table"):
        assert table.query_selector("caption").text_content()
        assert all(
            th.get_attribute("scope") == "col" for th in table.query_selector_all("thead th")
        )
        assert table.query_selector("tbody th[scope=row]")
    page.keyboard.press("Tab")
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate("document.activeElement.tagName") == "A"
    assert page.evaluate(style) == "solid"


class _Balance(HTMLParser):
    """Counts what is opened and closed."""

    void = {"meta", "link", "circle", "rect", "line", "polygon", "polyline", "br"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_self_contained(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    balance = _Balance()
    balance.feed(text)
    assert balance.open == []
    assert "http://" not in text
    assert "https://" not in text
    assert "<script>alert" not in text, "what stands in a path is text"
    assert "&lt;script&gt;alert" in text
