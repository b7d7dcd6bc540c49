"""What goes wrong, as RFC 9457 has it: one JSON object with a type to key on and a sentence for a person.

Knows no route. Nothing of a request's content is repeated in a problem.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from eyestream.errors import Misconfigured, Rejected, Unavailable
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:eyestream:problem:"
_RETRY_S: Final = 2
_OF_HTTP: Final = {
    404: ("not-found", "There is nothing at this address: /openapi.json lists what there is."),
    405: ("method-not-allowed", "This address takes other methods: see the header Allow."),
    413: ("too-large", "The body is larger than this address takes."),
}


class ProblemView(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        title="Problem",
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:eyestream:problem:stale",
                    "title": "Precondition Failed",
                    "status": 412,
                    "detail": "The exam changed since you read it: read it again.",
                    "request": "5f0c2e6b8c7d4a19",
                }
            ]
        },
    )
    type: str
    """What kind of problem; programs key on it."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong and what to do, for a person."""
    request: str
    """Which request this was, for whoever looks for it in the log or the audit record."""


class Problem(Exception):
    """A request that cannot be answered as asked; `kind` is the last part of its type, `more` are further members."""

    def __init__(
        self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems a route may answer with, for OpenAPI; those that every route may are added."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*statuses, 400, 401, 403, 422, 429, 503})
    }


def response(problem: Problem, request_id: str) -> Response:
    """The problem as it goes out."""
    body = {
        "type": _TYPE + problem.kind,
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request": request_id,
        **problem.more,
    }
    return Response(json.dumps(body), problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error that is foreseen go out as a problem; `Surroundings` answers for all others."""

    def on(kind: type[Exception], translate: Any) -> None:
        async def handle(request: Request, error: Exception) -> Response:
            return response(translate(error), request_id_of(request))

        app.add_exception_handler(kind, handle)

    on(Problem, lambda problem: problem)
    on(RequestValidationError, _invalid)
    on(HTTPException, _of_http)
    on(Rejected, rejected)
    on(Unavailable, _away)
    on(Misconfigured, _misconfigured)
    on(ClientDisconnect, _hung_up)


def request_id_of(request: Request) -> str:
    """The id that the first middleware gave the request."""
    return str(request.scope.get("request_id", ""))


def rejected(error: Rejected) -> Problem:
    """A picture that cannot be screened, with the reason that its dead letter would have."""
    return Problem(422, "picture-rejected", error.explanation, reason=error.reason, stage=error.stage)


def _invalid(error: RequestValidationError) -> Problem:
    """Where the request is wrong and what was expected; not what it held."""
    faults = [
        {"at": "/".join(str(part) for part in fault["loc"])[:200], "expected": str(fault["msg"])[:200]}
        for fault in error.errors()[:20]
    ]
    return Problem(422, "invalid-request", "The request is not as it should be: see `faults`.", faults=faults)


def _of_http(error: HTTPException) -> Problem:
    kind, detail = _OF_HTTP.get(error.status_code, ("invalid-request", "The request cannot be read."))
    return Problem(error.status_code, kind, detail, headers=error.headers)


def _hung_up(_error: ClientDisconnect) -> Problem:
    """Nobody hears it, but it is no fault of the service either."""
    return Problem(400, "invalid-request", "The request ended before its body did.")


def _away(error: Unavailable) -> Problem:
    log.warning("a part is away", extra={"action": Verb.FAILED, "part": error.part})
    detail = f"The {error.part} does not answer just now: try again."
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(_RETRY_S)}, part=error.part)


def _misconfigured(error: Misconfigured) -> Problem:
    log.error("%s", error, extra={"action": Verb.FAILED})
    return Problem(503, "misconfigured", "The service is not set up for this: its operator finds why in the log.")
