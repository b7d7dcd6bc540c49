"""Routes: an exam, and what a reader does with it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Response

from eyestream.programmes import Programme
from eyestream.records import Identifier
from eyestream.sinks.readings import Answer, Reading, Version
from eyestream.web import fhir
from eyestream.web.exam_models import ClaimView, ExamView, ReadingView, VerdictIn
from eyestream.web.guard import Decider, Reader, Visit, unknown_exam
from eyestream.web.models import etag, shown
from eyestream.web.problems import Problem, answers

router = APIRouter(prefix="/v1/exams", tags=["exams"])

ExamId = Annotated[Identifier, Path(description="The exam's id, as the device gave it.", examples=["exam-2026-0001"])]
IfMatch = Annotated[
    str | None, Header(description="The ETag of the exam as you saw it.", examples=['"2.2.1"'], max_length=100)
]
IfNoneMatch = Annotated[str | None, Header(description="The ETag that you hold already.", max_length=1000)]

_REFUSALS: Final = {
    "stale": (412, "The exam changed since you read it: read it again."),
    "taken": (409, "Somebody else holds this exam: `reader` and `until` say who and for how long."),
    "decided": (409, "A reader has decided this exam: take the verdict back first, if it is wrong."),
    "not-claimed": (409, "You do not hold this exam: claim it first."),
    "not-decided": (409, "Nobody has decided this exam, or pictures came since: there is nothing to take back."),
}


@router.get(
    "/{exam_id}",
    response_model=ExamView,
    responses={304: {"description": "As you hold it."}, **answers(404)},
)
async def exam(visit: Reader, exam_id: ExamId, if_none_match: IfNoneMatch = None) -> Response:
    """An exam with everything behind its decision."""
    known = await visit.services.dossiers.dossier(exam_id, visit.entry("exam.viewed", exam_id=exam_id))
    if known is None:
        raise unknown_exam()
    reading, tag = known.reading, etag(known.reading.version)
    # A claim is renewed, and ends, within one version: what the caller holds is still so only where there can be none.
    unclaimed = reading.state == "decided" or reading.version.reading == 0
    if unclaimed and if_none_match is not None and tag in [one.strip() for one in if_none_match.split(",")]:
        return Response(status_code=304, headers={"ETag": tag})
    return shown(ExamView.of(known, _programme(visit, known.exam.programme)), headers={"ETag": tag})


@router.get("/{exam_id}/fhir", responses={200: {"content": {fhir.MEDIA_TYPE: {}}}, **answers(404)})
async def report(visit: Reader, exam_id: ExamId) -> Response:
    """The exam as FHIR R4: a Bundle of a DiagnosticReport, its Observations and the Device that made them."""
    known = await visit.services.dossiers.dossier(exam_id, visit.entry("exam.exported", exam_id=exam_id))
    if known is None:
        raise unknown_exam()
    bundle = fhir.bundle(known, _programme(visit, known.exam.programme))
    return Response(bundle, media_type=fhir.MEDIA_TYPE, headers={"ETag": etag(known.reading.version)})


@router.put("/{exam_id}/claim", tags=["reading"], response_model=ClaimView, responses=answers(404, 409, 412))
async def claim(visit: Decider, exam_id: ExamId, if_match: IfMatch = None) -> Response:
    """Hold the exam, or hold it longer: repeat this while you read, well before `until`."""
    services = visit.services
    seen = None if if_match is None else _version(if_match)
    answer = await services.readings.claim(exam_id, visit.actor, for_s=services.house.claim_s, seen=seen)
    return _claimed(answer)


@router.delete("/{exam_id}/claim", tags=["reading"], response_model=ClaimView, responses=answers(404, 409))
async def release(visit: Decider, exam_id: ExamId) -> Response:
    """Hand the exam back undecided. Doing so twice does no harm."""
    return _claimed(await visit.services.readings.release(exam_id, visit.actor))


@router.put("/{exam_id}/verdict", tags=["reading"], response_model=ClaimView, responses=answers(404, 409, 412, 428))
async def decide(visit: Decider, exam_id: ExamId, verdict: VerdictIn, if_match: IfMatch = None) -> Response:
    """Decide the exam you hold, as you saw it, and hand it back; it leaves the worklist until a picture comes."""
    seen = _required(if_match)
    [reading] = await visit.services.readings.readings([exam_id])
    if reading is None:
        raise unknown_exam()
    _check_urgency(verdict, _programme(visit, reading.programme))
    answer = await visit.services.readings.decide(
        exam_id,
        visit.actor,
        outcome=verdict.outcome,
        urgency=verdict.urgency,
        comment=verdict.comment,
        seen=seen,
    )
    return _claimed(answer)


@router.delete("/{exam_id}/verdict", tags=["reading"], response_model=ClaimView, responses=answers(404, 409, 412, 428))
async def reopen(visit: Decider, exam_id: ExamId, if_match: IfMatch = None) -> Response:
    """Take a verdict back: the exam is open again. Both stay on record."""
    answer = await visit.services.readings.reopen(exam_id, visit.actor, seen=_required(if_match))
    return _claimed(answer)


def _programme(visit: Visit, name: str) -> Programme | None:
    bank = visit.services.banks().get(name)
    return bank.programme if bank else None


def _claimed(answer: Answer) -> Response:
    if answer.fate != "done" or answer.reading is None:
        raise _refusal(answer.fate, answer.reading)
    reading = answer.reading
    view = ClaimView(exam_id=reading.exam_id, version=str(reading.version), reading=ReadingView.of(reading))
    return shown(view, headers={"ETag": etag(reading.version)})


def _refusal(fate: str, reading: Reading | None = None) -> Problem:
    if fate == "unknown":
        return unknown_exam()
    status, detail = _REFUSALS[fate]
    more: dict[str, Any] = {"version": str(reading.version)} if reading else {}
    if reading is not None and reading.state == "claimed" and fate == "taken":
        view = ReadingView.of(reading).model_dump(mode="json")
        more |= {"reader": view["reader"], "until": view["until"]}
    return Problem(status, fate, detail, **more)


def _required(if_match: str | None) -> Version:
    if if_match is None:
        detail = "Say which state of the exam you saw: send its ETag as If-Match."
        raise Problem(428, "no-precondition", detail)
    return _version(if_match)


def _version(if_match: str) -> Version:
    try:
        return Version.parse(if_match[1:-1] if if_match[:1] == if_match[-1:] == '"' else "")
    except ValueError:
        detail = "This is no version of any exam: send the ETag as it came, quotes included."
        if if_match.startswith("W/"):
            detail = (
                "A weak ETag matches nothing, as a proxy that compresses makes it: send `version` in quotes instead."
            )
        raise Problem(412, "stale", detail) from None


def _check_urgency(verdict: VerdictIn, programme: Programme | None) -> None:
    if verdict.outcome != "refer" and verdict.urgency != "none":
        raise Problem(422, "invalid-request", "Only a referral has an urgency: leave it out.")
    if verdict.outcome == "refer" and programme is not None:
        steps = [step.name for step in programme.urgencies]
        if verdict.urgency not in steps:
            raise Problem(422, "invalid-request", f"A referral's urgency is one of {', '.join(steps)}.")
