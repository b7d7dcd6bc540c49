"""What a rendered eye shows: the description that pixels and captions are both made from. Knows nothing of drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from eyestream.records import RetinalField

FINDINGS: Final = ("microaneurysms", "haemorrhages", "exudates", "large-cup", "drusen", "cataract")
"""Findings a rendered eye can have."""
FAULTS: Final = ("blur", "dark", "off-centre", "not-an-eye")
"""Ways in which a rendered picture can be impossible to judge."""


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye as a camera saw it.

    `laterality` is R or L. `severity`, 0 to 1, scales the number, the size and the contrast of every finding and the
    strength of the fault. A picture that is `not-an-eye` shows none of the findings. Raises ValueError for an
    unknown name.
    """

    laterality: str = "R"
    field: RetinalField = "macula"
    findings: frozenset[str] = frozenset()
    quality: str | None = None
    severity: float = 0.6

    def __post_init__(self) -> None:
        if self.laterality not in {"R", "L"}:
            raise ValueError(f"laterality is R or L, not {self.laterality!r}")
        if self.field not in {"macula", "disc", "other"}:
            raise ValueError(f"field is macula, disc or other, not {self.field!r}")
        if unknown := self.findings.difference(FINDINGS):
            raise ValueError(f"no such findings: {sorted(unknown)}; known: {FINDINGS}")
        if self.quality is not None and self.quality not in FAULTS:
            raise ValueError(f"quality is None or one of {FAULTS}, not {self.quality!r}")
        if not 0 <= self.severity <= 1:
            raise ValueError(f"severity runs from 0 to 1, not {self.severity}")


def random_eye(rng: np.random.Generator, *, healthy: float = 0.3, faulty: float = 0.2) -> Eye:
    """An eye drawn by chance: `healthy` is the share without findings, `faulty` the share that cannot be judged.

    The same generator state gives the same eye.
    """
    quality = str(rng.choice(FAULTS)) if rng.random() < faulty else None
    findings: frozenset[str] = frozenset()
    if rng.random() >= healthy and quality != "not-an-eye":
        count = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
        findings = frozenset(str(name) for name in rng.choice(FINDINGS, size=count, replace=False))
    fields: tuple[RetinalField, ...] = ("macula", "disc", "other")
    return Eye(
        laterality="R" if rng.random() < 0.5 else "L",
        field=fields[int(rng.choice(3, p=[0.65, 0.25, 0.1]))],
        findings=findings,
        quality=quality,
        severity=float(rng.uniform(0.15, 1.0)),
    )
