"""The application, put together: routes, what surrounds them, and its description for strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import Receive, Scope, Send

from eyestream import __version__
from eyestream.web import dashboard, events, exams, letters, records, scores, views, worklists
from eyestream.web.hub import Hub
from eyestream.web.limits import BodyLimit
from eyestream.web.problems import Problem, ProblemView, install, response
from eyestream.web.pulse import Pulse
from eyestream.web.sending import Sender
from eyestream.web.services import Services
from eyestream.web.surroundings import Surroundings

_ABOUT: Final = """\
What the screening line found, and what people do with it.

Send `Authorization: Bearer …` with every request. Whatever goes wrong is `application/problem+json` (RFC 9457), whose
`type` programs key on. An exam has an ETag: send it as If-Match when you decide, so that nobody decides on what has
changed. No address and no answer holds a patient's identity; FHIR's `subject` is the programme's pseudonym.
"""
_TAGS: Final = [
    {"name": "programmes", "description": "What is looked for, who waits, what was counted."},
    {"name": "exams", "description": "An exam with everything behind its decision."},
    {"name": "reading", "description": "Claim, decide, hand back."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "scoring", "description": "One picture, on demand."},
    {"name": "dead letters", "description": "Pictures that could not be screened."},
    {"name": "records", "description": "Who saw and decided what."},
    {"name": "health", "description": "For whoever keeps the service running."},
]


def create(services: Services) -> FastAPI:
    """The application over these services. Owns none of them: whoever made them closes them."""
    house = services.house
    hub = Hub(
        services.feed,
        services.results,
        clock=services.clock,
        poll_s=house.poll_s,
        counts_s=house.counts_s,
        heartbeat_s=house.heartbeat_s,
    )

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.stop()

    # Its pages with forms would fetch their scripts from elsewhere: the description itself is enough for any tool.
    app = FastAPI(title="eyestream", version=__version__, docs_url=None, redoc_url=None, lifespan=running)
    app.state.services = services
    app.state.hub = hub
    app.state.sender = Sender()
    app.state.pulse = Pulse(services.feed, services.results, services.waiting, clock=services.clock)
    app.router.redirect_slashes = False
    for module in (worklists, exams, views, events, scores, letters, records, dashboard):
        app.include_router(module.router)
    app.include_router(records.health)
    install(app)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]  # as FastAPI's own documentation does it
    app.add_middleware(
        BodyLimit,
        small_bytes=house.max_body_bytes,
        large_bytes=house.max_picture_bytes,
        large=frozenset({"/v1/scores"}),
        refuse=_too_large,
    )
    app.add_middleware(Surroundings, metrics=services.metrics, failed=_failed)
    return app


async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(413, "too-large", "The body is larger than this address takes.")
    await response(problem, scope.get("request_id", ""))(scope, receive, send)


async def _failed(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(500, "failed", "The service failed: its operator finds this request in the log.")
    await response(problem, scope.get("request_id", ""))(scope, receive, send)


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description; FastAPI's own kind of validation error is not what we answer with."""
    if not app.openapi_schema:
        schema = get_openapi(
            title="eyestream results", version=app.version, description=_ABOUT, routes=app.routes, tags=_TAGS
        )
        models = schema["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            models.pop(unused, None)
        models["Problem"] = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
        app.openapi_schema = schema
    return app.openapi_schema
