"""What can be said of a rendered eye and whether it is true. Knows no words and no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from eyestream.testing.eyes.eye import FAULTS, FINDINGS, Eye

DIABETIC: Final = frozenset({"microaneurysms", "haemorrhages", "exudates"})
"""Any of these is diabetic retinopathy in the world of rendered eyes."""

SIDES: Final = {"R": "right", "L": "left"}

Kind = Literal[
    "finding",
    "no-finding",
    "diabetic",
    "healthy",
    "abnormal",
    "fault",
    "no-fault",
    "ungradable",
    "gradable",
    "eye",
    "side",
]


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of one kind; `value` names the finding, the fault or the side where the kind needs one."""

    kind: Kind
    value: str = ""


CLAIMS: Final = (
    *(Claim("finding", name) for name in FINDINGS),
    *(Claim("no-finding", name) for name in FINDINGS),
    *(Claim("fault", name) for name in FAULTS),
    *(Claim("no-fault", name) for name in FAULTS if name != "not-an-eye"),
    Claim("diabetic"),
    Claim("healthy"),
    Claim("abnormal"),
    Claim("ungradable"),
    Claim("gradable"),
    Claim("eye"),
    Claim("side", "right"),
    Claim("side", "left"),
)
"""Every claim there is."""


def holds(claim: Claim, eye: Eye) -> bool | None:
    """Whether the claim is true of the picture; None when the picture's fault leaves it open."""
    spoilt = eye.quality is not None
    other = eye.quality == "not-an-eye"
    plain: dict[Kind, bool | None] = {
        "fault": eye.quality == claim.value,
        "no-fault": None if other else eye.quality != claim.value,
        "ungradable": spoilt,
        "gradable": not spoilt,
        "eye": not other,
        "side": None if spoilt else SIDES[eye.laterality] == claim.value,
    }
    return plain[claim.kind] if claim.kind in plain else _of_findings(claim, eye)


def _of_findings(claim: Claim, eye: Eye) -> bool | None:
    """A fault can hide what is there, and cannot show what is not."""
    spoilt = eye.quality is not None
    if claim.kind in {"healthy", "no-finding"}:
        present = bool(eye.findings) if claim.kind == "healthy" else claim.value in eye.findings
        if present or eye.quality == "not-an-eye":
            return False
        return None if spoilt else True
    sought = {"finding": frozenset({claim.value}), "diabetic": DIABETIC}.get(claim.kind, frozenset(FINDINGS))
    present = bool(eye.findings & sought)
    return None if present and spoilt else present
