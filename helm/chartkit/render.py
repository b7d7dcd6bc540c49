"""Renders the chart with the Helm program. Knows nothing of what comes out."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from chartkit import tools

CHART: Final = tools.ROOT / "helm" / "eyestream"
SHAPES: Final = CHART / "ci"
"""One values file for each main shape of an installation."""
GOLDENS: Final = tools.ROOT / "tests" / "chart" / "goldens"
"""What each shape renders to, committed, so that a change of the chart shows as a change of manifests."""


class Refused(Exception):
    """Helm refused the values; the message is all that it said."""


def manifests(
    *files: Path,
    values: dict[str, Any] | None = None,
    kubernetes: str = tools.NEWEST,
    release: str = "eyes",
    namespace: str = "screening",
    upgrade: bool = False,
) -> str:
    """Every object as YAML: `files` from weakest to strongest, `values` over them. Raises Refused."""
    arguments = [release, str(CHART), "--namespace", namespace, "--kube-version", kubernetes]
    for file in files:
        arguments += ["-f", str(file)]
    if upgrade:
        arguments.append("--is-upgrade")
    return _helm(["template", *arguments], values)


def lint(file: Path, *, kubernetes: str = tools.NEWEST) -> str:
    """`helm lint --strict` with this values file. Raises Refused."""
    return _helm(["lint", str(CHART), "--strict", "--kube-version", kubernetes, "-f", str(file)], None)


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of rendered YAML, in order."""
    return [found for found in yaml.load_all(text, Loader=yaml.CSafeLoader) if found]


def shapes() -> list[Path]:
    """The values files of the main shapes, by name."""
    return sorted(SHAPES.glob("*-values.yaml"))


def golden(shape: Path) -> Path:
    """Where a shape's golden lies."""
    return GOLDENS / shape.name.replace("-values.yaml", ".yaml")


def _helm(arguments: Sequence[str], values: dict[str, Any] | None) -> str:
    extra = [] if values is None else ["-f", "-"]
    text: str | None = None if values is None else yaml.safe_dump(values)
    done = subprocess.run(
        [str(tools.helm()), *arguments, *extra],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout
