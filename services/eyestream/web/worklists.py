"""Routes: a programme's worklist and counters, and the programmes there are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from eyestream.records import Slug, utc
from eyestream.sinks.base import WorklistEntry
from eyestream.sinks.readings import Reading
from eyestream.triage import scored_only
from eyestream.web.exam_models import CountsView, ReadingView, WorklistView, WorkView
from eyestream.web.guard import Reader, SomeReader, Visit
from eyestream.web.models import View, shown
from eyestream.web.problems import Problem, answers
from eyestream.web.pulse import Beat, Pulse

router = APIRouter(prefix="/v1/programmes", tags=["programmes"])

ProgrammeName = Annotated[Slug, Path(description="The programme's name.", examples=["demo"])]
Which = Literal["waiting", "open", "claimed", "mine", "all"]

_ROUNDS: Final = 20
"""Pages of the sink's own worklist that are looked through for one of ours: a filter that nothing passes must end."""


class StepView(View):
    """One step of a programme's scale."""

    name: str
    title: str
    rank: int
    within_days: float


class ConditionView(View):
    """One thing looked for in every picture."""

    id: str
    title: str
    role: str
    suggests: str
    urgency: str
    operating_point: str
    threshold: float


class ProgrammeView(View):
    """A programme in service, and the bank it is judged with."""

    name: str
    title: str
    description: str
    urgencies: list[StepView]
    conditions: list[ConditionView]
    digest: str
    bank: str
    encoder: str
    """The encoder that the bank was built for."""


class StageView(View):
    """Seconds that pictures spent in a stage."""

    stage: str
    """sending (camera to Kafka), waiting (in Kafka), decoding, encoding, storing; total (Kafka to stored)."""
    median: float
    p95: float
    longest: float


class LineView(View):
    """How the line is doing."""

    programme: str
    at: dt.datetime
    window_s: float
    """How far back was looked: longer while little happens."""
    pictures: int
    """Pictures that the stages' times are of."""
    stages: list[StageView]
    """Without those that no picture went through."""
    waiting: int | None
    """Pictures of every programme that wait in Kafka or are in flight; null while Kafka does not answer."""

    @classmethod
    def of(cls, programme: str, beat: Beat) -> LineView:
        """The look at the line."""
        stages = [StageView(stage=one.name, median=one.median, p95=one.p95, longest=one.longest) for one in beat.stages]
        return cls(
            programme=programme,
            at=utc(beat.at),
            window_s=beat.window_s,
            pictures=beat.pictures,
            stages=stages,
            waiting=beat.waiting,
        )


class ProgrammesView(View):
    """Every programme in service."""

    programmes: list[ProgrammeView]


@router.get("", response_model=ProgrammesView, responses=answers())
async def programmes(visit: SomeReader) -> Response:
    """The programmes in service that you may read: their scales, conditions and digests."""
    views = []
    for name, bank in sorted(visit.services.banks().items()):
        if not visit.principal.may("read", name):
            continue
        programme = bank.programme
        steps = [
            StepView(name=step.name, title=step.title, rank=step.rank, within_days=step.within_days)
            for step in sorted(programme.urgencies, key=lambda step: -step.rank)
        ]
        conditions = []
        for condition in programme.conditions:
            point = programme.operating_point(condition)
            conditions.append(
                ConditionView(
                    id=condition.id,
                    title=condition.title,
                    role=condition.role,
                    suggests=condition.suggests,
                    urgency=condition.urgency,
                    operating_point=point,
                    threshold=condition.thresholds[point],
                )
            )
        views.append(
            ProgrammeView(
                name=name,
                title=programme.title,
                description=programme.description,
                urgencies=steps,
                conditions=conditions,
                digest=programme.digest,
                bank=bank.head.digest,
                encoder=bank.head.provenance.encoder,
            )
        )
    return shown(ProgrammesView(programmes=views))


@router.get("/{programme}/worklist", response_model=WorklistView, responses=answers())
async def worklist(
    visit: Reader,
    programme: ProgrammeName,
    *,
    limit: Annotated[int, Query(ge=1, le=200, description="Exams on one page, at the most.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="Where the last page ended.")] = None,
    which: Annotated[
        Which,
        Query(
            description="By how they stand with readers; waiting is open or claimed, and all is no filter."
            " A decided exam leaves the list, whichever is asked for."
        ),
    ] = "waiting",
    outcome: Annotated[Literal["refer", "recapture", "incomplete"] | None, Query()] = None,
    urgency: Annotated[Slug | None, Query(description="A step of the programme's scale.")] = None,
) -> Response:
    """The exams that wait for a reader: most urgent first, within a step the longest waiting first.

    A cursor is a place, not a number: exams that come or go meanwhile move nobody, and each is on one page.
    """
    await visit.record("worklist.viewed", programme=programme)
    found: list[WorkView] = []
    for _ in range(_ROUNDS):
        try:
            page = await visit.services.results.worklist(programme, limit=limit - len(found), cursor=cursor)
        except ValueError:
            detail = "The cursor is none of this worklist's: begin without one."
            raise Problem(400, "invalid-cursor", detail) from None
        readings = await visit.services.readings.readings([entry.exam_id for entry in page.entries])
        found += [
            _work(entry, reading)
            for entry, reading in zip(page.entries, readings, strict=True)
            # An id that comes again may name an exam of another programme than the one that was listed once.
            if reading is not None
            and reading.programme == programme
            and _wanted(visit, reading, which, outcome, urgency)
        ]
        cursor = page.cursor
        if cursor is None or len(found) >= limit:
            break
    return shown(WorklistView(programme=programme, exams=found, cursor=cursor))


@router.get("/{programme}/counts", response_model=CountsView, responses=answers())
async def counts(
    visit: Reader, programme: ProgrammeName, day: Annotated[dt.date | None, Query(description="UTC; today.")] = None
) -> Response:
    """What happened on a day."""
    date = day or utc(visit.services.clock()).date()
    found: Mapping[str, int] = await visit.services.results.counts(programme, date)
    return shown(CountsView(programme=programme, day=date, counts=dict(found)))


@router.get("/{programme}/line", response_model=LineView, responses=answers())
async def line(request: Request, _visit: Reader, programme: ProgrammeName) -> Response:
    """How the line is doing: what waits, and how long the stages took for a sample of the last minutes' pictures.

    As of a few seconds ago. Rates come with the events: two `counts` and the time between them.
    """
    pulse: Pulse = request.app.state.pulse
    return shown(LineView.of(programme, await pulse.beat(programme)))


def _wanted(visit: Visit, reading: Reading, which: Which, outcome: str | None, urgency: str | None) -> bool:
    states = {
        "waiting": reading.state != "decided",
        "mine": reading.reader == visit.principal.who,
        "all": True,
    }
    decision = reading.decision
    return (
        states.get(which, reading.state == which)
        and (outcome is None or (decision is not None and decision.outcome == outcome))
        and (urgency is None or (decision is not None and decision.urgency == urgency))
    )


def _work(entry: WorklistEntry, reading: Reading) -> WorkView:
    decision = reading.decision
    return WorkView(
        exam_id=entry.exam_id,
        version=str(reading.version),
        rank=entry.rank,
        since=utc(entry.since),
        outcome=decision.outcome if decision else None,
        urgency=decision.urgency if decision else None,
        eyes=dict(decision.eyes) if decision else {},
        scored_only=sorted(scored_only(decision)) if decision else [],
        reading=ReadingView.of(reading),
    )
