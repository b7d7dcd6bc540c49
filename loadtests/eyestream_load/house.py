"""What one process of Locust has of the test: a conductor, a section, or both where one process does everything.

Locust makes users and shapes itself and hands them nothing, so they find it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eyestream_load.conductor import Conductor
from eyestream_load.section import Section


class House:
    """Made by `hooks.set_up`, before any user is."""

    conductor: Conductor | None = None
    section: Section | None = None
    summary: dict[str, Any] | None = None
    out: Path | None = None
    spawn_rate: float | None = None


def section() -> Section:
    """The section of a process that has users."""
    assert House.section is not None
    return House.section
