"""Reads values.yaml with its comments: every key, its default, its documentation and what it may be.

The file keeps to a plain subset of YAML that this reader checks: block mappings indented by two, one key a line, flow
style for what stands on one line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_KEY: Final = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_.-]+):(?: (?P<rest>.+))?$")
_SCHEMA: Final = re.compile(r"^ *# @schema (?P<json>.+)$")
_DOC: Final = re.compile(r"^ *# -- (?P<text>.+)$")


class Undocumented(Exception):
    """A value without documentation, or without a way to tell what it may be."""


@dataclass(slots=True)
class Node:
    """One key of values.yaml."""

    key: str
    path: tuple[str, ...]
    default: Any = None
    doc: str = ""
    schema: dict[str, Any] | None = None
    children: list[Node] = field(default_factory=list)


def read(file: Path) -> Node:
    """The tree of values; raises Undocumented for a leaf that says too little."""
    text = file.read_text("utf-8")
    root = Node("", (), default=yaml.safe_load(text))
    stack: list[tuple[int, Node]] = [(-2, root)]
    doc: list[str] = []
    schema: dict[str, Any] | None = None
    for line in text.splitlines():
        if match := _SCHEMA.match(line):
            schema = json.loads(match["json"])
        elif match := _DOC.match(line):
            doc = [match["text"]]
        elif line.lstrip().startswith("#"):
            if doc:
                doc.append(line.lstrip()[1:].strip())
        elif match := _KEY.match(line):
            indent = len(match["indent"])
            while stack[-1][0] >= indent:
                stack.pop()
            parent = stack[-1][1]
            path = (*parent.path, match["key"])
            node = Node(match["key"], path, default=parent.default[match["key"]], doc=" ".join(doc), schema=schema)
            parent.children.append(node)
            stack.append((indent, node))
            doc, schema = [], None
        elif not line.strip():
            doc, schema = [], None
    for child in root.children:
        _check(child)
    return root


def _check(node: Node) -> None:
    if node.doc and node.children and _is_whole(node):
        node.children = []  # documented as one value: what stands below is its default
    for child in node.children:
        _check(child)
    if not node.children and not node.doc:
        raise Undocumented(f"values.yaml: {'.'.join(node.path)} has no `# --` comment")
    if not node.children and node.schema is None and (node.default is None or isinstance(node.default, dict | list)):
        raise Undocumented(f"values.yaml: {'.'.join(node.path)} needs a `# @schema` line: its default tells no type")


def _is_whole(node: Node) -> bool:
    """A documented value is one value, save where its children are documented too."""
    return not any(child.doc for child in node.children)
