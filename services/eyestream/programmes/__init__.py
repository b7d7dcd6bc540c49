"""Screening programmes as data: what is looked for, how it is asked, what follows. Nothing here scores or decides."""

from __future__ import annotations

from eyestream.programmes.programme import (
    NO_ACTION,
    Calibration,
    Condition,
    Group,
    Programme,
    Rule,
    Urgency,
    available,
)

__all__ = ["NO_ACTION", "Calibration", "Condition", "Group", "Programme", "Rule", "Urgency", "available"]
