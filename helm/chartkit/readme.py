"""The chart's README: its template with the table of values in place of helm-docs' marker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from chartkit.values import Node

MARKER: Final = '{{ template "chart.valuesTable" . }}'


_WIDTH: Final = 80
"""A longer default is not repeated in the table."""


def render(template: str, root: Node) -> str:
    """The README's text."""
    rows = ["| Key | Default | What it is |", "|-----|---------|------------|"]
    rows += [f"| {'.'.join(node.path)} | `{_default(node)}` | {_cell(node.doc)} |" for node in _leaves(root)]
    return template.replace(MARKER, "\n".join(rows))


def _leaves(node: Node) -> Iterator[Node]:
    for child in node.children:
        open_map = child.schema and isinstance(child.schema.get("additionalProperties"), dict)
        if child.children and not open_map:
            yield from _leaves(child)
        else:
            yield child


def _default(node: Node) -> str:
    text = json.dumps(node.default, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"see values.yaml ({', '.join(node.default)})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
