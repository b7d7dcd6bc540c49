"""TOML text with line numbers for its faults. Nothing here knows what a programme means."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from pydantic import ValidationError

from eyestream.errors import Misconfigured

_HEADER = re.compile(r"^\s*\[{1,2}\s*([A-Za-z0-9_.\-]+)\s*\]{1,2}\s*(?:#.*)?$")


def parse(text: str, source: str) -> dict[str, Any]:
    """The TOML document; raises Misconfigured with source, line and column when it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{source} is not TOML: {error}") from None


def line_of_table(text: str, table: str, index: int = 0) -> int:
    """The line, from 1, where the index-th `[table]` or `[[table]]` begins; 1 when it is not written so."""
    seen = 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header and header.group(1) == table:
            if seen == index:
                return number
            seen += 1
    return 1


def line_of_key(text: str, key: str, *, start: int) -> int:
    """The line, from `start` on and inside its table, that sets the key; `start` when none does."""
    setting = re.compile(rf"^\s*{re.escape(key)}\s*=")
    for number, line in enumerate(text.splitlines()[start - 1 :], start=start):
        if setting.match(line):
            return number
        if number > start and _HEADER.match(line):
            break
    return start


def line_of_string(text: str, literal: str, *, start: int, occurrence: int = 1) -> int:
    """The line, from `start` on and inside its table, where the quoted string stands for the n-th time.

    `start` itself when the string is not written as a plain literal there.
    """
    pattern = re.compile("|".join(re.escape(quoted) for quoted in (json.dumps(literal), f"'{literal}'")))
    seen = 0
    for number, line in enumerate(text.splitlines()[start - 1 :], start=start):
        if number > start and _HEADER.match(line):
            break
        seen += len(pattern.findall(line))
        if seen >= occurrence:
            return number
    return start


def explain(error: ValidationError, text: str, source: str) -> Misconfigured:
    """One sentence for each fault, each with the line of its table."""
    faults = []
    for fault in error.errors(include_url=False, include_input=False):
        path = fault["loc"]
        table = str(path[0]) if path else ""
        index = path[1] if len(path) > 1 and isinstance(path[1], int) else 0
        where = ".".join(str(part) for part in path)
        said = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{source}:{line_of_table(text, table, index)}: {where + ': ' if where else ''}{said}")
    return Misconfigured("\n".join(faults))
