"""Which of our modules a case's numbers come from: those that its computation imports. Knows no case and no number."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from eyestream_engines.spec import SHELF

PACKAGE: Final = "eyestream_engines"
_BEGINNINGS: Final = ("verifying", "compilers.tensorrt")
"""What a measurement calls; a family is found by its name and must be named beside them."""
_APART: Final = frozenset({"architectures", "spec", "files", "triton_config", "child"})
"""Imported too, and no number comes from them: what they say of an encoder is in its description."""


def modules(families: Iterable[str]) -> list[Path]:
    """Files of the modules that measuring encoders of these families imports, directly or not, in order.

    One more family, or a change of one, leaves the files of the others as they are.
    """
    root = SHELF / PACKAGE
    found: set[Path] = set()
    waiting = [*_BEGINNINGS, *(f"families.{family.replace('-', '_')}" for family in families)]
    while waiting:
        name = waiting.pop()
        path = _file(root, name)
        if path is None or path in found or name in _APART:
            continue
        found.add(path)
        waiting += [name.rpartition(".")[0], *_imported(path)]
    return sorted(found)


def _file(root: Path, name: str) -> Path | None:
    place = root.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if name and path.is_file()), None)


def _imported(path: Path) -> Iterator[str]:
    """Names inside the package that a file imports anywhere; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(f"{PACKAGE}."))
