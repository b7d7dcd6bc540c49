"""What goes out and comes in as JSON. Made of the line's own records; no field holds a subject.

Every time is ISO 8601 in UTC.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from eyestream.programmes import Programme
from eyestream.records import Decision, Finding, Identifier, Reason, Screening, Unreadable, utc
from eyestream.triage import scored_only


class View(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def shown(view: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The view as an answer: dumped once, and not checked again by the framework."""
    return Response(view.model_dump_json(), status, headers=dict(headers or {}), media_type="application/json")


def etag(version: object) -> str:
    """A version as a header has it."""
    return f'"{version}"'


class FindingView(View):
    """One condition looked for in one picture."""

    condition: str
    title: str
    """The condition in the programme's words."""
    probability: float
    """Calibrated."""
    threshold: float
    """The operating point it was held against."""
    operating_point: str
    prompt: str
    """The phrase that spoke loudest for it."""
    positive: bool

    @classmethod
    def of(cls, finding: Finding, programme: Programme | None) -> FindingView:
        """The finding in its programme's words, or in its slugs where the programme is not in service."""
        known = programme.condition(finding.condition) if programme else None
        return cls(
            condition=finding.condition,
            title=known.title if known else finding.condition,
            probability=finding.probability,
            threshold=finding.threshold,
            operating_point=finding.operating_point,
            prompt=finding.prompt,
            positive=finding.positive,
        )


class ReasonView(View):
    """Why an exam was decided as it was."""

    laterality: str
    image_id: str
    urgency: str
    finding: FindingView

    @classmethod
    def of(cls, reason: Reason, programme: Programme | None) -> ReasonView:
        """The reason in its programme's words."""
        return cls(
            laterality=reason.laterality,
            image_id=reason.image_id,
            urgency=reason.urgency,
            finding=FindingView.of(reason.finding, programme),
        )


class DecisionView(View):
    """How the line decided."""

    outcome: Literal["refer", "clear", "recapture", "incomplete"]
    urgency: str
    rank: int
    eyes: dict[str, str]
    """Of each eye: referred, clear, ungradable or missing."""
    scored_only: list[str]
    """Eyes that count as missing though their pictures were scored, for the programme does not decide."""
    reasons: list[ReasonView]
    notes: list[str]

    @classmethod
    def of(cls, decision: Decision, programme: Programme | None) -> DecisionView:
        """The decision in its programme's words."""
        return cls(
            outcome=decision.outcome,
            urgency=decision.urgency,
            rank=decision.rank,
            eyes=dict(decision.eyes),
            scored_only=sorted(scored_only(decision)),
            reasons=[ReasonView.of(reason, programme) for reason in decision.reasons],
            notes=list(decision.notes),
        )


class DigestsView(View):
    """With what a picture was judged; sha256, in full."""

    encoder: str
    bank: str
    preprocessing: str
    programme: str


class PositionView(View):
    """Where the picture lies in Kafka, or lay."""

    topic: str
    partition: int
    offset: int


class TimesView(View):
    """When each stage was done with the picture."""

    captured: dt.datetime
    produced: dt.datetime
    fetched: dt.datetime
    decoded: dt.datetime | None
    encoded: dt.datetime | None
    stored: dt.datetime | None


class ResultView(View):
    """One picture's result with all that explains it."""

    image_id: str
    laterality: str
    """R, L, or U for unknown."""
    modality: str
    field: str
    site_id: str
    device_id: str
    sha256: str
    findings: list[FindingView]
    """Likeliest first."""
    quality: list[FindingView]
    """What was asked of the picture itself."""
    ungradable: str | None
    """The quality that makes it impossible to judge, or null."""
    digests: DigestsView
    position: PositionView | None
    """Null for a picture that did not come through Kafka."""
    times: TimesView
    traceparent: str
    picture: str | None
    """The picture itself, relative to this service's address."""

    @classmethod
    def of(cls, result: Screening, programme: Programme | None, *, picture: str | None) -> ResultView:
        """The result in its programme's words."""
        meta, at = result.meta, result.position
        findings = sorted(result.findings, key=lambda finding: -finding.probability)
        return cls(
            image_id=meta.image_id,
            laterality=meta.laterality,
            modality=meta.modality,
            field=meta.field,
            site_id=meta.site_id,
            device_id=meta.device_id,
            sha256=meta.sha256,
            findings=[FindingView.of(finding, programme) for finding in findings],
            quality=[FindingView.of(finding, programme) for finding in result.quality],
            ungradable=result.ungradable,
            digests=DigestsView(
                encoder=result.identity.encoder,
                bank=result.identity.bank,
                preprocessing=result.preprocessing,
                programme=result.programme,
            ),
            position=PositionView(topic=at.topic, partition=at.partition, offset=at.offset) if picture else None,
            times=TimesView(
                captured=utc(result.timings.captured),
                produced=utc(result.timings.produced),
                fetched=utc(result.timings.fetched),
                decoded=moment(result.timings.decoded),
                encoded=moment(result.timings.encoded),
                stored=moment(result.timings.stored),
            ),
            traceparent=result.traceparent,
            picture=picture,
        )


class UnreadableView(View):
    """A picture that went to the dead letters."""

    image_id: str
    laterality: str
    field: str
    reason: str
    explanation: str

    @classmethod
    def of(cls, note: Unreadable) -> UnreadableView:
        """The note without its subject."""
        meta = note.meta
        return cls(
            image_id=meta.image_id,
            laterality=meta.laterality,
            field=meta.field,
            reason=note.reason,
            explanation=note.explanation,
        )


def picture_path(exam_id: Identifier, image_id: Identifier) -> str:
    """Where a picture is, relative to the service's address."""
    return f"/v1/exams/{exam_id}/pictures/{image_id}"


def moment(at: float | None) -> dt.datetime | None:
    """Seconds since 1970 as an answer has them."""
    return None if at is None else utc(at)
