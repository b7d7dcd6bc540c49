"""Routes: the audit record, who one is, and whether the service is alive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from eyestream.records import Identifier, utc
from eyestream.sinks.audit import Entry
from eyestream.web.guard import Known, SomeOperator, Visit
from eyestream.web.models import View, shown
from eyestream.web.principals import SCOPES
from eyestream.web.problems import Problem, answers

router = APIRouter(prefix="/v1", tags=["records"])
health = APIRouter(tags=["health"])

_DAY_S = 86_400.0


class EntryView(View):
    """One deed."""

    at: dt.datetime
    who: str
    how: str
    """oidc, api-key or unprotected."""
    request: str
    """The request's id, as X-Request-ID had it."""
    action: str
    exam_id: str | None
    image_id: str | None
    programme: str | None
    detail: str | None

    @classmethod
    def of(cls, entry: Entry) -> EntryView:
        """The entry; what it does not say is null."""
        return cls(
            at=utc(entry.at),
            who=entry.actor.who,
            how=entry.actor.how,
            request=entry.actor.request,
            action=entry.action,
            exam_id=entry.exam_id or None,
            image_id=entry.image_id or None,
            programme=entry.programme or None,
            detail=entry.detail or None,
        )


class AuditView(View):
    """Some of the record, newest first."""

    entries: list[EntryView]
    cursor: str | None
    """Asks for older ones; null at the end. A filtered page may be empty and yet have one."""


class MeView(View):
    """Whom the service takes one for."""

    who: str
    how: str
    scopes: list[str]
    """What one may, in one programme at least."""
    narrowed: dict[str, list[str]]
    """Scopes that hold for some programmes alone, and for which."""
    expires: dt.datetime | None


class AliveView(View):
    """That the service answers."""

    status: str


@router.get("/audit", response_model=AuditView, responses=answers())
async def audit(
    visit: SomeOperator,
    *,
    since: Annotated[AwareDatetime | None, Query(description="A day ago when left out.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Now when left out.")] = None,
    exam: Annotated[Identifier | None, Query(description="Only of this exam.")] = None,
    who: Annotated[str | None, Query(max_length=128, description="Only of this user or key.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """Who saw and decided what, in the programmes that you may operate. Only ever added to.

    What names neither a programme nor an exam that is still kept is shown to who may operate every one.
    """
    at = visit.services.clock()
    begin = since.timestamp() if since else at - _DAY_S
    end = until.timestamp() if until else at + 60
    await visit.record("audit.viewed", exam_id=exam or "")
    try:
        page = await visit.services.audit.entries(since=begin, until=end, limit=limit, cursor=cursor)
    except ValueError:
        raise Problem(400, "invalid-cursor", "The cursor is none of this record's: begin without one.") from None
    chosen = [
        EntryView.of(entry)
        for entry in await _theirs(visit, page.entries)
        if (exam is None or entry.exam_id == exam) and (who is None or entry.actor.who == who)
    ]
    return shown(AuditView(entries=chosen, cursor=page.cursor))


@router.get("/me", response_model=MeView, responses=answers())
async def me(visit: Known) -> Response:
    """Whom the service takes you for, and what you may."""
    principal = visit.principal
    scopes: list[str] = [scope for scope in SCOPES if scope in principal.scopes]
    expires = utc(principal.expires) if principal.expires is not None else None
    reaches = {scope: principal.reach(scope) for scope in scopes}
    narrowed = {scope: sorted(reach) for scope, reach in reaches.items() if reach is not None}
    return shown(MeView(who=principal.who, how=principal.how, scopes=scopes, narrowed=narrowed, expires=expires))


async def _theirs(visit: Visit, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries of the visit's programmes. Looks at exams do not name theirs: the exam does, while it is kept."""
    reach = visit.principal.reach("operate")
    if reach is None:
        return entries
    unnamed = sorted({entry.exam_id for entry in entries if entry.exam_id and not entry.programme})
    readings = await visit.services.readings.readings(unnamed)
    known = {reading.exam_id: reading.programme for reading in readings if reading is not None}
    return [entry for entry in entries if (entry.programme or known.get(entry.exam_id)) in reach]


@health.get("/healthz", response_model=AliveView)
async def alive() -> Response:
    """Whether the process answers; asks nobody else."""
    return shown(AliveView(status="alive"))


@health.get("/readyz", response_model=AliveView, responses={503: answers()[503]})
async def ready(request: Request) -> Response:
    """Whether Redis answers: without it there is nothing to show."""
    await request.app.state.services.feed.end()  # not `sources`, which are asked for once and then known
    return shown(AliveView(status="ready"))
