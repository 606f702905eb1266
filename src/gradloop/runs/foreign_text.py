"""Text that somebody else may have written, on its way to a terminal or into a table."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

# what moves the cursor, recolours, hides or turns text around, and halves of characters that can't be encoded
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
RUNS_IN_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """Return the text with each control character written out, as in `\\x1b`."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def all_printable(value: Any) -> Any:
    """Return plain data with all of its texts and keys made printable."""
    if isinstance(value, dict):
        return {printable(str(key)): all_printable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [all_printable(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return CSV text: a line of the columns' names, then the rows.

    A text that a spreadsheet would take for a formula gets a `'` in front; numbers stay as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    defused = len(text) > 1 and text.startswith(RUNS_IN_SPREADSHEETS) and not is_number(text)
    return printable(f"'{text}" if defused else text)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
