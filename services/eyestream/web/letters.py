"""Routes: the dead letters, and putting them back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from eyestream.brokers.deadletters import DeadLetter, Selection, address, count_by_reason
from eyestream.records import Identifier, Slug, utc
from eyestream.web.guard import SomeOperator, Visit
from eyestream.web.models import View, shown
from eyestream.web.problems import Problem, answers

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}/[0-9]{1,9}/[0-9]{1,18}$")]

_MOST: Final = 100


class LetterView(View):
    """A picture that could not be screened. What identifies a patient is not shown."""

    address: str
    """topic/partition/offset among the dead letters; names it for redriving."""
    reason: str
    stage: str
    explanation: str
    """What to do."""
    attempts: int
    failed: dt.datetime
    redriven: bool
    """Whether it was put back."""
    nbytes: int
    exam_id: str | None
    image_id: str | None
    site_id: str | None
    device_id: str | None
    programme: str | None

    @classmethod
    def of(cls, letter: DeadLetter) -> LetterView:
        """The letter, with its picture's names where its metadata can be read."""
        meta = letter.meta
        return cls(
            address=address(letter.position),
            reason=letter.reason,
            stage=letter.stage,
            explanation=letter.explanation,
            attempts=letter.attempts,
            failed=utc(letter.failed),
            redriven=letter.redriven,
            nbytes=letter.nbytes,
            exam_id=meta.exam_id if meta else None,
            image_id=meta.image_id if meta else None,
            site_id=meta.site_id if meta else None,
            device_id=meta.device_id if meta else None,
            programme=meta.programme if meta else None,
        )


class ReasonCountView(View):
    """How many letters have one reason."""

    reason: str
    stage: str
    count: int


class LettersView(View):
    """Some dead letters, newest first; `total` and `reasons` count all that were asked for."""

    total: int
    reasons: list[ReasonCountView]
    letters: list[LetterView]
    cursor: str | None
    """Asks for older ones; null at the end."""


class RedriveIn(BaseModel):
    """Which dead letters to put back."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"addresses": ["screening.images.dlq/0/17"], "dry_run": True}]}
    )
    addresses: Annotated[list[Address], Field(min_length=1, max_length=_MOST)]
    again: bool = False
    """Also those that were put back before."""
    dry_run: bool = False
    """Only say what would be done."""


class RedrivenView(View):
    """What became of one letter."""

    address: str
    fate: str
    """put back, would be put back, put back before, put back too often, or picture gone."""


class RedriveView(View):
    """What became of each, in the order asked."""

    letters: list[RedrivenView]


@router.get("", response_model=LettersView, responses=answers())
async def dead_letters(
    visit: SomeOperator,
    *,
    reason: Annotated[Slug | None, Query(description="Only this reason, e.g. truncated.")] = None,
    stage: Annotated[Slug | None, Query(description="Only what this stage refused.")] = None,
    site: Annotated[Slug | None, Query()] = None,
    programme: Annotated[Slug | None, Query()] = None,
    exam: Annotated[Identifier | None, Query()] = None,
    waiting: Annotated[bool, Query(description="Leave out those that were put back.")] = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[Address | None, Query(description="Where the last page ended.")] = None,
) -> Response:
    """The pictures that could not be screened, and why, of the programmes that you may operate.

    One whose metadata cannot be read is of no programme: only who may operate every one sees it.
    """
    if programme is not None:
        visit.require("operate", programme)
    await visit.record("dead-letters.viewed", programme=programme or "", exam_id=exam or "")
    selection = Selection(reason=reason, stage=stage, site=site, programme=programme, exam=exam, redriven=not waiting)
    chosen = [letter for letter in reversed(await _letters(visit)) if letter in selection]
    begin = 0
    if cursor is not None:
        places = [place for place, letter in enumerate(chosen) if address(letter.position) == cursor]
        if not places:
            raise Problem(
                400, "invalid-cursor", "The cursor is none of this list's, or its letter is gone: begin anew."
            )
        begin = places[0] + 1
    page = chosen[begin : begin + limit]
    counted = [
        ReasonCountView(reason=reason_, stage=stage_, count=count)
        for (reason_, stage_), count in count_by_reason(chosen).items()
    ]
    more = len(chosen) > begin + limit
    return shown(
        LettersView(
            total=len(chosen),
            reasons=counted,
            letters=[LetterView.of(letter) for letter in page],
            cursor=address(page[-1].position) if more else None,
        )
    )


@router.post("/redrives", response_model=RedriveView, responses=answers(404))
async def redrive(visit: SomeOperator, wanted: RedriveIn) -> Response:
    """Put dead letters back onto their topic, to be screened again once the cause is mended.

    Each once, unless `again`, and never more than three times.
    """
    known = {address(letter.position): letter for letter in await _letters(visit)}
    chosen = list(dict.fromkeys(wanted.addresses))
    missing = [name for name in chosen if name not in known]
    if missing:
        raise Problem(
            404, "unknown-letter", "Some of these dead letters are not there: see `missing`.", missing=missing
        )
    for name in chosen:
        meta = known[name].meta
        await visit.record(
            "dead-letters.redriven",
            exam_id=meta.exam_id if meta else "",
            image_id=meta.image_id if meta else "",
            programme=meta.programme if meta else "",
            detail=name + (" dry run" if wanted.dry_run else ""),
        )
    replays = await visit.services.letters.redrive(
        [known[name] for name in chosen], again=wanted.again, dry_run=wanted.dry_run
    )
    return shown(
        RedriveView(letters=[RedrivenView(address=address(one.letter.position), fate=one.fate) for one in replays])
    )


async def _letters(visit: Visit) -> Sequence[DeadLetter]:
    """Those of the visit's programmes, oldest failure first."""
    letters, reach = await visit.services.letters.list(), visit.principal.reach("operate")
    if reach is None:
        return letters
    return [letter for letter in letters if letter.meta is not None and letter.meta.programme in reach]
