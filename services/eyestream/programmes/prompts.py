"""Faults in the phrases of a programme, with their lines. Nothing here knows what a phrase means to a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eyestream.errors import Misconfigured
from eyestream.programmes import reading


def lint(document: dict[str, Any], text: str, source: str) -> None:
    """Raises Misconfigured, with file and line, for every phrase that is empty or stands twice in one table.

    The same phrase may be the negative of many conditions; within one condition it may stand once, on one side.
    """
    faults = list(_faults(document, text, source))
    if faults:
        raise Misconfigured("\n".join(faults))


def normal(phrase: str) -> str:
    """A phrase without what no text model should hear: case and white space at its ends and doubled."""
    return " ".join(phrase.split()).casefold()


def _faults(document: dict[str, Any], text: str, source: str) -> Iterator[str]:
    tables: list[tuple[str, int, dict[str, Any], tuple[str, ...]]]
    tables = [("conditions", i, c, ("positive", "negative")) for i, c in enumerate(document.get("conditions", ()))]
    tables += [("groups", i, g, ("rest",)) for i, g in enumerate(document.get("groups", ()))]
    for table, index, row, sides in tables:
        start = reading.line_of_table(text, table, index)
        first: dict[str, tuple[str, str]] = {}
        for side in sides:
            here = reading.line_of_key(text, side, start=start)
            written: dict[str, int] = {}
            for phrase in row.get(side, ()):
                written[phrase] = written.get(phrase, 0) + 1
                line = reading.line_of_string(text, phrase, start=here, occurrence=written[phrase])
                name = row.get("id", row.get("name"))
                key = normal(phrase)
                if not key:
                    yield f"{source}:{line}: {name}: a {side} phrase is empty"
                elif key in first:
                    yield f"{source}:{line}: {name}: {phrase!r} stands twice (the first time under {first[key][0]})"
                first.setdefault(key, (side, phrase))
