"""Results and a judge made up for tests of sinks and readers; plain to follow, and nothing in them is measured."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from eyestream.records import (
    Decision,
    Finding,
    Identity,
    ImageMeta,
    Picture,
    Position,
    Reason,
    Screening,
    Timings,
    Unreadable,
    digest,
)

IDENTITY = Identity(encoder=digest("an encoder"), bank=digest("a bank"))
TAKEN = dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC)


class Crashed(Exception):
    """Stands for a process that ends between two steps."""


class Judge:
    """A `Decide` that is plain to follow: the worst finding decides. `crash_next` ends the process at its next call."""

    def __init__(self) -> None:
        self.calls = 0
        self._crashes = 0

    def crash_next(self) -> None:
        self._crashes += 1

    def __call__(self, _programme: str, exam_id: str, pictures: Sequence[Picture]) -> Decision:
        self.calls += 1
        if self._crashes:
            self._crashes -= 1
            raise Crashed
        reasons = tuple(
            Reason(picture.laterality, picture.image_id, finding, urgency="soon")
            for picture in pictures
            for finding in picture.findings
            if finding.positive and picture.ungradable is None
        )
        judged = [picture for picture in pictures if picture.ungradable is None and picture.unreadable is None]
        notes = tuple(f"{picture.image_id}: {picture.unreadable}" for picture in pictures if picture.unreadable)
        if reasons:
            worst = max(reason.finding.probability for reason in reasons)
            return Decision(exam_id, "refer", "soon", round(worst * 100), {"R": "referred"}, reasons, notes)
        if judged:
            return Decision(exam_id, "clear", "routine", 0, {"R": "clear"}, (), notes)
        return Decision(exam_id, "recapture", "routine", 1, {"R": "ungradable"}, (), notes)


def a_meta(image_id: str, exam_id: str = "exam-1", **changes: object) -> ImageMeta:
    """Metadata of a right eye's picture."""
    known = {
        "image_id": image_id,
        "exam_id": exam_id,
        "subject_id": "0123456789abcdef-planted",
        "laterality": "R",
        "field": "macula",
        "site_id": "north",
        "device_id": "camera-1",
        "captured_at": TAKEN,
        "programme": "diabetic",
        "sha256": digest(image_id),
    }
    return ImageMeta.model_validate({**known, **changes})


def a_screening(
    image_id: str,
    exam_id: str = "exam-1",
    *,
    probability: float = 0.9,
    identity: Identity = IDENTITY,
    conditions: Sequence[str] = ("referable-dr",),
    ungradable: str | None = None,
    **meta: object,
) -> Screening:
    """A result whose every condition has this probability against 0.5."""
    findings = tuple(Finding(name, probability, 0.5, "high-sensitivity", f"signs of {name}") for name in conditions)
    return Screening(
        meta=a_meta(image_id, exam_id, **meta),
        identity=identity,
        preprocessing=digest("a preprocessing"),
        programme=digest("a programme"),
        findings=findings,
        ungradable=ungradable,
        quality=(Finding("blur", 0.7 if ungradable else 0.2, 0.6, "high-sensitivity", "out of focus"),),
        position=Position("screening.images", 3, 41, epoch=2),
        timings=Timings(captured=1.25, produced=2.5, fetched=3.1, decoded=3.2, encoded=3.3),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def a_note(image_id: str, exam_id: str = "exam-1", **meta: object) -> Unreadable:
    """A picture that went to the dead letters."""
    return Unreadable(
        a_meta(image_id, exam_id, **meta), "truncated", "The file ends early: send it again.", "00-ab-cd-01"
    )
