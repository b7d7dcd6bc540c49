"""The steps of a build, by name, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Told = Callable[[str, float], None]
"""Told which step is being done, and which share of it, 0 to 1."""

STEPS: Final = (
    "hashing the checkpoint",
    "checking its keys",
    "comparing with the original",
    "computing the reference",
    "exporting",
    "checking the graph",
    "making it FP16",
    "checking FP16",
    "compiling",
    "checking the engine",
    "publishing",
)
