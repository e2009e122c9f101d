"""Lines of CSV files, of cells that a spreadsheet cannot take for formulas."""

import csv
import io
from collections.abc import Iterable
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
QUOTE = "'"


def harmless(cells: Iterable[Any]) -> list[Any]:
    """The cells of a row, with a quote before each text that a spreadsheet would run, or that begins with a quote."""
    return [
        f"{QUOTE}{cell}" if isinstance(cell, str) and cell.startswith((*FORMULA, QUOTE)) else cell for cell in cells
    ]


def csv_line(cells: Iterable[Any]) -> str:
    """A row's line; whatever its cells hold, line ends of any kind too, it reads back as one row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(harmless(cells))  # quotes the cells that hold one of these
    return text.getvalue().removesuffix("\r\n") + "\n"


def as_before(cells: Iterable[str]) -> list[str]:
    """The text that `harmless` has got."""
    return [cell.removeprefix(QUOTE) for cell in cells]
