"""Tables in Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cotasp.continual.kept import NOT_REACHED
from cotasp.report.statistics import Estimate


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Args:
        text: as shown.
        value: what the table is sorted by, or None.
        numbers: what programs read in place of the text: the number, or mean, low and high, or
            these and the fraction that was not reached; None where there is none.
    """

    text: str
    value: float | None = None
    numbers: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table that says what it shows.

    Args:
        name: of its files.
        caption: one sentence.
        columns: headings.
        rows: one cell per column; the first names the row.
        notes: formulas, protocol, seeds.
        missing: what is missing or left out; the page has it at its top, files in each table.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes, and what is missing."""
        return (*self.notes, *(f"Missing or left out: {what}" for what in self.missing))

    @property
    def _places(self) -> range:
        return range(len(self.columns))

    def markdown(self) -> str:
        """GitHub's tables, columns aligned."""
        texts = [self.columns, *(tuple(c.text for c in row) for row in self.rows)]
        cells = [[_line(text).replace("|", "\\|") for text in row] for row in texts]
        widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(self.columns))]
        lines = [
            "| " + " | ".join(text.ljust(w) for text, w in zip(row, widths)) + " |" for row in cells
        ]
        rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
        lines.insert(1, "| " + " | ".join(rule) + " |")
        notes = "".join(f"- {_line(note)}\n" for note in self.remarks)
        return f"**{_line(self.caption)}**\n\n" + "\n".join(lines) + f"\n\n{notes}"

    def csv(self) -> str:
        """Headings and rows; above them caption and notes, each line begun with `#`, as comments
        are; in a cell it stands in quotes.

        A number and its interval take a column each; where there is no value, nothing stands.
        """
        widths = [max([1, *(len(row[i].numbers) for row in self.rows)]) for i in self._places]
        rows = [[text for pair in zip(self.columns, widths) for text in _headings(*pair)]]
        rows += ([text for pair in zip(row, widths) for text in _csv(*pair)] for row in self.rows)
        lines = [f"# {_line(text)}" for text in (self.caption, *self.remarks)]
        lines += (",".join(map(_quoted, row)) for row in rows)
        return "".join(f"{line}\n" for line in lines)

    def latex(self) -> str:
        """A `table` with booktabs rules, notes below."""
        body = [" & ".join(map(_tex, self.columns)) + r" \\", r"\midrule"]
        body += [" & ".join(_tex(c.text) for c in row) + r" \\" for row in self.rows]
        notes = r"\\".join(f"\\footnotesize {_tex(note)}" for note in self.remarks)
        return "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                f"\\caption{{{_tex(self.caption)}}}",
                f"\\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
                r"\toprule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                f"\\par\\raggedright {notes}" if notes else "%",
                r"\end{table}",
                "",
            ]
        )


def _headings(column: str, width: int) -> list[str]:
    if width == 1:
        return [column]
    value = column if column.endswith("IQM") else f"{column} mean"
    return [value, *(f"{column} {what}" for what in ("low", "high", NOT_REACHED))][:width]


def _quoted(text: str) -> str:
    """A cell, in quotes where a reader would take something in it for the end of it."""
    return '"' + text.replace('"', '""') + '"' if {*text} & {*',"#\r\n'} else text


def _csv(cell: Cell, width: int) -> list[str]:
    """As many texts as the column is wide."""
    texts = ["" if v is None or v != v else f"{v + 0.0:.10g}" for v in cell.numbers]
    texts = texts or ["" if cell.text == "-" else cell.text]
    return texts + [""] * (width - len(texts))


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "≥": r"$\geq$",
    "λ": r"$\lambda$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


def _tex(text: str) -> str:
    """A text as LaTeX.  A `[` or `*` that begins a row would be an argument of the `\\\\` or the
    rule before it, so that an empty group stands between.
    """
    text = _line(text)
    guard = "{}" if text.startswith(("[", "*")) else ""
    return guard + "".join(_TEX.get(c, c) for c in text)


def _line(text: str) -> str:
    """A text in one line: names are anybody's, and a table's row, a note and a comment end where a
    line does.
    """
    return " ".join(text.split())


def number(value: float | None, digits: int = 2) -> Cell:
    """A number, or a dash."""
    if value is None or value != value:
        return Cell("-", None, (None,))
    text = f"{value:,.{digits}f}"
    text = text.removeprefix("-") if float(text.replace(",", "")) == 0 else text
    return Cell(text, value, (value,))


def interval(estimate: Estimate, digits: int = 2) -> Cell:
    """A number and its interval, if it has one."""
    cell = number(estimate.value, digits)
    text = cell.text
    if estimate.low is not None and estimate.high is not None:
        low, high = number(estimate.low, digits).text, number(estimate.high, digits).text
        text = f"{text} [{low}, {high}]"
    return Cell(text, cell.value, tuple(estimate))


def count_until(estimate: Estimate, digits: int, missed: int, cases: int) -> Cell:
    """A count until something is reached, which says where that never was: as a lower bound if in
    some cases, without a number if in all.  Sorted, both stand behind what was always reached.

    Args:
        estimate: of the counts, with the whole budget where it was never reached.
        digits: decimals.
        missed: cases in which it was never reached.
        cases: seeds times tasks.

    >>> count_until(Estimate(1667.0), 0, 2, 3).text
    '≥ 1,667 (2 of 3 not reached)'
    >>> count_until(Estimate(2000.0), 0, 3, 3).text
    'not reached'
    """
    cell = interval(estimate, digits)
    if not cases:
        return replace(cell, numbers=(None,) * 4)
    if missed == cases:
        return Cell(NOT_REACHED, math.inf, (None, None, None, 1.0))
    numbers = (*cell.numbers, missed / cases)
    if not missed:
        return replace(cell, numbers=numbers)
    text, _, ends = cell.text.partition(" [")
    said = f"{missed} of {cases} {NOT_REACHED}"
    said = f"[{ends.removesuffix(']')}; {said}]" if ends else f"({said})"
    return Cell(f"≥ {text} {said}", math.inf, numbers)
