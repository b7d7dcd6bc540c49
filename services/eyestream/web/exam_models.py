"""An exam and its reading as JSON, and what a reader sends. No field holds a subject."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from eyestream.programmes import Programme
from eyestream.records import Slug, utc
from eyestream.sinks.readings import Dossier, Reading, State, Verdict
from eyestream.web.models import DecisionView, ResultView, UnreadableView, View, moment, picture_path


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
            until=moment(reading.until),
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
    pseudonyms: int
    """How many its pictures carry; more than one may be more than one patient."""
    reading: ReadingView

    @classmethod
    def of(cls, dossier: Dossier, programme: Programme | None) -> ExamView:
        """The exam in its programme's words."""
        exam, reading = dossier.exam, dossier.reading
        decision = exam.standing
        return cls(
            exam_id=exam.exam_id,
            programme=exam.programme,
            version=str(reading.version),
            since=utc(exam.since),
            decision=DecisionView.of(decision, programme) if decision else None,
            results=[
                ResultView.of(result, programme, picture=picture_path(exam.exam_id, result.meta.image_id))
                for result in dossier.results
            ],
            unreadable=[UnreadableView.of(note) for note in exam.unreadable],
            pseudonyms=len(dossier.pseudonyms),
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
    scored_only: list[str]
    """As in the exam's decision."""
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
