"""What goes out and comes in as JSON. Made of the line's own records; no field holds a subject.

Every time is ISO 8601 in UTC.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from eyestream.programmes import Programme
from eyestream.records import Decision, Finding, Identifier, Reason, Screening, Slug, Unreadable, utc
from eyestream.sinks.base import Exam
from eyestream.sinks.readings import Reading, State, Verdict


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
                decoded=_moment(result.timings.decoded),
                encoded=_moment(result.timings.encoded),
                stored=_moment(result.timings.stored),
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


class VerdictView(View):
    """What a reader decided."""

    outcome: Literal["refer", "recapture", "clear"]
    urgency: str
    comment: str
    by: str
    at: dt.datetime
    current: bool
    """False when pictures came since."""

    @classmethod
    def of(cls, verdict: Verdict, *, current: bool) -> VerdictView:
        """The verdict as it was given."""
        return cls(
            outcome=verdict.outcome,
            urgency=verdict.urgency,
            comment=verdict.comment,
            by=verdict.by,
            at=utc(verdict.at),
            current=current,
        )


class ReadingView(View):
    """How the exam stands with its readers."""

    state: State
    reader: str | None
    """Who holds it, while it is claimed."""
    until: dt.datetime | None
    """When the claim ends by itself."""
    verdict: VerdictView | None

    @classmethod
    def of(cls, reading: Reading) -> ReadingView:
        """The reading as it stands."""
        given = reading.verdict
        return cls(
            state=reading.state,
            reader=reading.reader,
            until=_moment(reading.until),
            verdict=given if given is None else VerdictView.of(given, current=reading.state == "decided"),
        )


class ExamView(View):
    """An exam with everything behind its decision."""

    exam_id: str
    programme: str
    version: str
    """Of its pictures, its decision and its reading; the ETag without quotes."""
    since: dt.datetime
    """When its earliest picture was taken."""
    decision: DecisionView | None
    """Null for the moment between a picture and the decision on it."""
    results: list[ResultView]
    """Every result of its pictures, oldest first; a picture judged with two banks has two."""
    unreadable: list[UnreadableView]
    reading: ReadingView

    @classmethod
    def of(cls, exam: Exam, reading: Reading, results: list[Screening], programme: Programme | None) -> ExamView:
        """The exam in its programme's words."""
        return cls(
            exam_id=exam.exam_id,
            programme=exam.programme,
            version=str(reading.version),
            since=utc(exam.since),
            decision=DecisionView.of(exam.decision, programme) if exam.decision else None,
            results=[
                ResultView.of(result, programme, picture=picture_path(exam.exam_id, result.meta.image_id))
                for result in results
            ],
            unreadable=[UnreadableView.of(note) for note in exam.unreadable],
            reading=ReadingView.of(reading),
        )


class WorkView(View):
    """One exam that waits for a reader."""

    exam_id: str
    version: str
    rank: int
    since: dt.datetime
    outcome: str | None
    urgency: str | None
    eyes: dict[str, str]
    reading: ReadingView


class WorklistView(View):
    """Some of a worklist, most urgent first and longest waiting first."""

    programme: str
    exams: list[WorkView]
    cursor: str | None
    """Asks for the rest; null at the end. A page may be shorter than asked, or empty, and yet have one."""


class ClaimView(View):
    """An exam and its new version."""

    exam_id: str
    version: str
    reading: ReadingView


class VerdictIn(BaseModel):
    """What a reader decides. A comment is for colleagues: it must not name the patient."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"outcome": "refer", "urgency": "soon", "comment": "Exudates near the fovea."}]
        },
    )
    outcome: Literal["refer", "recapture", "clear"]
    urgency: Slug = "none"
    comment: Annotated[str, Field(max_length=1000)] = ""


class CountsView(View):
    """What happened on a day."""

    programme: str
    day: dt.date
    counts: dict[str, int]
    """Pictures: stored, duplicate, conflict, unreadable. Exams begun that day: refer, clear, recapture, incomplete."""


def picture_path(exam_id: Identifier, image_id: Identifier) -> str:
    """Where a picture is, relative to the service's address."""
    return f"/v1/exams/{exam_id}/pictures/{image_id}"


def _moment(at: float | None) -> dt.datetime | None:
    return None if at is None else utc(at)
