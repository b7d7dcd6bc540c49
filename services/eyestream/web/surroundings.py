"""What happens around every request: its id, its figures, the headers that keep a browser from mistakes."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eyestream.telemetry import Verb, WebMetrics

log = logging.getLogger(__name__)

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_SERVER_FAULT: Final = 500
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Strict-Transport-Security": "max-age=31536000",
    "Cache-Control": "no-store",
}
"""Unless a route sets its own. Strict-Transport-Security means nothing to a browser that came over plain HTTP."""


class Surroundings:
    """The outermost layer; logs what failed, by route and never by path or query.

    `failed` answers in the stead of a route that ended in a bug, so that this answer too has its headers; the bug goes
    on to the server, which writes it down.
    """

    def __init__(self, app: ASGIApp, *, metrics: WebMetrics, failed: ASGIApp) -> None:
        self._app = app
        self._metrics = metrics
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        started = time.perf_counter()
        status = _SERVER_FAULT
        told = False

        async def sent(message: Message) -> None:
            nonlocal status, told
            if message["type"] == "http.response.start":
                status, told = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
                self._count(scope, status, time.perf_counter() - started)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception:  # whatever it was: it goes on to the server once the caller has an answer
            if not told:
                await self._failed(scope, receive, sent)
            raise
        finally:
            if not told:
                self._count(scope, status, time.perf_counter() - started)
            if status >= _SERVER_FAULT:
                route = _route(scope)
                log.error("a request failed", extra={"action": Verb.FAILED, "route": route, "status": status})

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(_route(scope), method, str(status)).inc()
        self._metrics.seconds.labels(_route(scope)).observe(seconds)


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "none"))
