"""Route: new results, readers' deeds and live counters as server-sent events that resume."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from eyestream.errors import Unavailable
from eyestream.records import Slug
from eyestream.sinks.base import Decided
from eyestream.sinks.feed import Cursor
from eyestream.sinks.readings import Read
from eyestream.web.guard import SomeReader, Visit
from eyestream.web.hub import Hub, Item
from eyestream.web.problems import Problem, answers

router = APIRouter(prefix="/v1", tags=["events"])

MEDIA_TYPE: Final = "text/event-stream"
_RETRY_MS: Final = 2000
_GRACE_S: Final = 5.0
"""Beyond its time, before a stream is broken off that could not end by itself."""


class EventStream(StreamingResponse):
    """Ends within `longest_s` also where its client takes nothing more: it then waits for it, and looks at no clock.

    Whoever follows no longer is forgotten at once, however it came to that.
    """

    media_type = MEDIA_TYPE

    def __init__(self, events: AsyncGenerator[str, None], *, longest_s: float) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events, self._longest_s = events, longest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        async with aclosing(self._events):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._longest_s):
                    await super().__call__(scope, receive, send)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                MEDIA_TYPE: {
                    "example": 'event: decided\nid: mi2p7w0k.0.0\ndata: {"exam_id": "exam-1", "outcome": "refer"}\n\n'
                }
            }
        },
        **answers(),
    },
)
async def events(
    request: Request,
    visit: SomeReader,
    programme: Annotated[
        Slug | None, Query(description="Only this programme's, with its counters; else all that you may read.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=8192, description="Where to resume.")] = None,
) -> StreamingResponse:
    """Events as they happen, each once, in order within an exam.

    `decided`: the line decided an exam. `read`: a reader claimed, released, decided or reopened one. `counts`: the
    programme's counters of today. `reset`: events may be missing between Last-Event-ID and now, so read lists anew. The
    stream ends within an hour or when the token expires; resume by sending the last id as Last-Event-ID.
    """
    hub: Hub = request.app.state.hub
    services = visit.services
    if programme is not None:
        visit.require("read", programme)
    if hub.clients >= services.house.max_streams:
        detail = "Too many clients follow events here: try again later."
        raise Problem(503, "too-many-streams", detail, headers={"Retry-After": "10"})
    try:
        cursor, forgotten = await hub.place(last_event_id)
    except ValueError:
        detail = "Last-Event-ID is no place in these events: begin without it."
        raise Problem(400, "invalid-cursor", detail) from None
    await visit.record("worklist.viewed", programme=programme or "", detail="events")
    ends = services.clock() + services.house.stream_s
    if visit.principal.expires is not None:
        ends = min(ends, visit.principal.expires)
    return EventStream(
        _stream(hub, visit, cursor, programme, forgotten=forgotten, ends=ends),
        longest_s=max(0.0, ends - services.clock()) + services.house.heartbeat_s + _GRACE_S,
    )


async def _stream(
    hub: Hub, visit: Visit, cursor: Cursor, programme: str | None, *, forgotten: bool, ends: float
) -> AsyncGenerator[str, None]:
    services, expires = visit.services, visit.principal.expires
    services.metrics.streams.inc()
    try:
        yield f"retry: {_RETRY_MS}\nid: {cursor}\n\n"
        if forgotten:
            yield "event: reset\ndata: {}\n\n"
        if hub.clients >= services.house.max_streams:
            return  # others began since this one was let in; it comes again, and is told
        async with aclosing(hub.follow(cursor, programme=programme, among=visit.principal.reach("read"))) as items:
            async for item in items:
                if expires is not None and services.clock() >= expires:
                    return
                yield _event(item)
                if services.clock() >= ends:
                    return
    except Unavailable:
        return  # the client resumes
    finally:
        services.metrics.streams.dec()


def _event(item: Item) -> str:
    place, news = item
    told = f"id: {place}\n" if place else ""
    if news is None:
        return f": nothing new\n{told}\n"
    if isinstance(news, Decided | Read):
        name = "decided" if isinstance(news, Decided) else "read"
        return f"event: {name}\n{told}data: {json.dumps(dataclasses.asdict(news))}\n\n"
    return f"event: counts\n{told}data: {json.dumps(dict(news))}\n\n"
