"""Tables in Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from cotasp.report.statistics import Estimate


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Args:
        text: as shown.
        value: what the table is sorted by, or None.
    """

    text: str
    value: float | None = None


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

    def markdown(self) -> str:
        """GitHub's tables, columns aligned."""
        texts = [self.columns, *(tuple(c.text for c in row) for row in self.rows)]
        cells = [[text.replace("|", "\\|") for text in row] for row in texts]
        widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(self.columns))]
        lines = [
            "| " + " | ".join(text.ljust(w) for text, w in zip(row, widths)) + " |" for row in cells
        ]
        rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
        lines.insert(1, "| " + " | ".join(rule) + " |")
        notes = "".join(f"- {note}\n" for note in self.remarks)
        return f"**{self.caption}**\n\n" + "\n".join(lines) + f"\n\n{notes}"

    def csv(self) -> str:
        """Headings and rows, numbers as programs read them; above them caption and notes."""
        out = io.StringIO()
        out.writelines(f"# {line}\n" for line in (self.caption, *self.remarks))
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_csv(cell) for cell in row] for row in self.rows)
        return out.getvalue()

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


def _csv(cell: Cell) -> str:
    """The text; of a number alone, without what sets thousands apart."""
    digits = cell.text.replace(",", "")
    return digits if digits.lstrip("-").replace(".", "", 1).isdecimal() else cell.text


_TEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "≥": r"$\geq$",
    "λ": r"$\lambda$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


def number(value: float | None, digits: int = 2) -> Cell:
    """A number, or a dash."""
    if value is None or value != value:
        return Cell("-")
    text = f"{value:,.{digits}f}"
    return Cell(text.removeprefix("-") if float(text.replace(",", "")) == 0 else text, value)


def interval(found: Estimate, digits: int = 2) -> Cell:
    """A number and its interval, if it has one."""
    cell = number(found.value, digits)
    if found.low is None or found.high is None:
        return cell
    low, high = number(found.low, digits).text, number(found.high, digits).text
    return Cell(f"{cell.text} [{low}, {high}]", cell.value)
