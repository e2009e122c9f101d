"""Cells of CSV files that a spreadsheet cannot take for formulas."""

from collections.abc import Iterable
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
QUOTE = "'"


def harmless(cells: Iterable[Any]) -> list[Any]:
    """The cells of a row, with a quote before each text that a spreadsheet would run, or that begins with a quote."""
    return [
        f"{QUOTE}{cell}" if isinstance(cell, str) and cell.startswith((*FORMULA, QUOTE)) else cell for cell in cells
    ]


def as_before(cells: Iterable[str]) -> list[str]:
    """The text that `harmless` has got."""
    return [cell.removeprefix(QUOTE) for cell in cells]
