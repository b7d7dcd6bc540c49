"""The chart's tests share renders: each shape is rendered once a session, by the real Helm."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "helm"))

from chartkit import render, tools

Object = dict[str, Any]
SHAPES = [file.name.removesuffix("-values.yaml") for file in render.shapes()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shape" in metafunc.fixturenames:
        metafunc.parametrize("shape", SHAPES)


@functools.cache
def _text(shape: str, kubernetes: str) -> str:
    return render.manifests(render.SHAPES / f"{shape}-values.yaml", kubernetes=kubernetes)


@pytest.fixture
def rendered() -> Callable[..., list[Object]]:
    """The objects of a shape, with values over it when given."""

    def objects(shape: str, values: dict[str, Any] | None = None, *, kubernetes: str = tools.NEWEST) -> list[Object]:
        if values is None:
            return render.objects(_text(shape, kubernetes))
        file = render.SHAPES / f"{shape}-values.yaml"
        return render.objects(render.manifests(file, values=values, kubernetes=kubernetes))

    return objects
