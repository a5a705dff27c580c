"""CSV files that grow as a run goes on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class CsvFile:
    """A CSV file with a heading, to which rows are appended.

    Nothing is held back: what was appended can be read at once, and a row that could not be
    written is not tried again.

    Args:
        path: of the file; it is made with its heading, or gone on with.
        columns: names of its columns.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        if not (path.exists() and path.stat().st_size):
            self.append([columns])

    def append(self, rows: Iterable[Sequence[Any]]) -> None:
        """Writes rows; floats have all their digits.

        Raises:
            OSError: not all of them could be written.
        """
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        rest = text.getvalue().encode()
        with open(self.path, "ab", buffering=0) as file:
            while rest:
                rest = rest[file.write(rest) :]
