"""Results as JSON and back, to the last digit. Nothing here knows where the JSON is kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from eyestream.records import (
    Decision,
    Digest,
    Finding,
    Identity,
    ImageMeta,
    Picture,
    Position,
    Reason,
    Screening,
    Timings,
    Unreadable,
)

# A NaN would be valid here and unreadable in Lua and in browsers: it fails where it is made.
_dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode

_POSITION = tuple(field.name for field in dataclasses.fields(Position))
_TIMINGS = tuple(field.name for field in dataclasses.fields(Timings))


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "condition": finding.condition,
        "probability": float(finding.probability),
        "threshold": float(finding.threshold),
        "operating_point": finding.operating_point,
        "prompt": finding.prompt,
    }


def _findings(raw: list[dict[str, Any]] | None) -> tuple[Finding, ...]:
    return tuple(Finding(**finding) for finding in raw or ())


def dump_findings(findings: Sequence[Finding]) -> str:
    """A JSON array: the larger part of a result and of its picture, which may share it."""
    return _dump([_finding(finding) for finding in findings])


def dump_screening(screening: Screening, *, findings: str | None = None, stored: float | None = None) -> str:
    """One line of JSON; the server's function reads `meta`, `findings` and `quality` of it.

    `findings` is what `dump_findings` made of this screening's own, where it is at hand; `stored` is the time of
    storing where the screening has none.
    """
    timings = {name: getattr(screening.timings, name) for name in _TIMINGS}
    if timings["stored"] is None:
        timings["stored"] = stored
    rest = {
        "encoder": screening.identity.encoder,
        "bank": screening.identity.bank,
        "preprocessing": screening.preprocessing,
        "programme": screening.programme,
        "ungradable": screening.ungradable,
        "quality": [_finding(judged) for judged in screening.quality],
        "position": {name: getattr(screening.position, name) for name in _POSITION},
        "timings": timings,
        "traceparent": screening.traceparent,
    }
    findings = findings or dump_findings(screening.findings)
    return f'{{"meta":{screening.meta.model_dump_json()},"findings":{findings},{_dump(rest)[1:]}'


def load_screening(text: str | bytes) -> Screening:
    """The screening that `dump_screening` was given."""
    raw = json.loads(text)
    return Screening(
        meta=ImageMeta.model_validate(raw["meta"]),
        identity=Identity(encoder=Digest(raw["encoder"]), bank=Digest(raw["bank"])),
        preprocessing=Digest(raw["preprocessing"]),
        programme=Digest(raw["programme"]),
        findings=_findings(raw["findings"]),
        ungradable=raw["ungradable"],
        quality=_findings(raw["quality"]),
        position=Position(**raw["position"]),
        timings=Timings(**raw["timings"]),
        traceparent=raw["traceparent"],
    )


def picture_of(result: Screening | Unreadable) -> Picture:
    """What triage needs of a result, or of the note that there can be none."""
    meta = result.meta
    if isinstance(result, Unreadable):
        judged: dict[str, Any] = {"unreadable": result.reason}
    else:
        judged = {"findings": result.findings, "ungradable": result.ungradable}
    return Picture(meta.image_id, meta.laterality, meta.field, subject=meta.subject_id, **judged)


def dump_picture(picture: Picture, *, findings: str | None = None) -> str:
    """Compact: what is unknown is left out, because an exam's pictures travel with every answer of the server.

    `findings` is what `dump_findings` made of this picture's own, where it is at hand.
    """
    raw: dict[str, Any] = {"image_id": picture.image_id, "laterality": picture.laterality, "field": picture.field}
    if picture.subject:
        raw["subject"] = picture.subject
    if picture.ungradable is not None:
        raw["ungradable"] = picture.ungradable
    if picture.unreadable is not None:
        raw["unreadable"] = picture.unreadable
    if not picture.findings:
        return _dump(raw)
    return f'{_dump(raw)[:-1]},"findings":{findings or dump_findings(picture.findings)}}}'


def load_picture(text: str | bytes) -> Picture:
    """The picture that `dump_picture` was given."""
    return picture_from(json.loads(text))


def picture_from(raw: dict[str, Any]) -> Picture:
    """The same, of JSON already read."""
    return Picture(**{**raw, "findings": _findings(raw.get("findings"))})


def dump_unreadable(note: Unreadable) -> str:
    """One line of JSON."""
    return _dump(
        {
            "meta": note.meta.model_dump(mode="json"),
            "reason": note.reason,
            "explanation": note.explanation,
            "traceparent": note.traceparent,
        }
    )


def load_unreadable(text: str | bytes) -> Unreadable:
    """The note that `dump_unreadable` was given."""
    raw = json.loads(text)
    return Unreadable(**{**raw, "meta": ImageMeta.model_validate(raw["meta"])})


def dump_decision(decision: Decision) -> str:
    """One line of JSON."""
    return _dump(
        {
            "exam_id": decision.exam_id,
            "outcome": decision.outcome,
            "urgency": decision.urgency,
            "rank": decision.rank,
            "eyes": dict(decision.eyes),
            "reasons": [
                {
                    "laterality": reason.laterality,
                    "image_id": reason.image_id,
                    "finding": _finding(reason.finding),
                    "urgency": reason.urgency,
                }
                for reason in decision.reasons
            ],
            "notes": list(decision.notes),
        }
    )


def load_decision(text: str | bytes) -> Decision:
    """The decision that `dump_decision` was given."""
    raw = json.loads(text)
    reasons = tuple(Reason(**{**reason, "finding": Finding(**reason["finding"])}) for reason in raw["reasons"])
    return Decision(**{**raw, "reasons": reasons, "notes": tuple(raw["notes"])})
