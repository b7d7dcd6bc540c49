"""Who a request comes from, whether they may, and on whose behalf it goes into the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from eyestream.errors import Misconfigured
from eyestream.sinks.audit import Actor, Entry
from eyestream.web.keys import PREFIX, KeyFile
from eyestream.web.limits import Buckets, whole_seconds
from eyestream.web.oidc import Issuer, NotOurs
from eyestream.web.principals import EXPLAINED, SCOPES, Grant, Principal
from eyestream.web.problems import Problem, request_id_of
from eyestream.web.services import Services

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="A token of the OpenID provider, or an API key. Scopes: "
    + "; ".join(f"`{scope}`: {words}" for scope, words in EXPLAINED.items())
    + ". Each may hold for one programme alone: `read@diabetic`.",
)
_ANYBODY: Final = Principal(who="anybody", how="unprotected", grants=frozenset(map(Grant, SCOPES)))


class Guard:
    """Tells from its header whom a request comes from. One of `keys` and `issuer` is needed, unless `unprotected`."""

    def __init__(
        self, *, keys: KeyFile | None, issuer: Issuer | None, requests: Buckets, unprotected: bool = False
    ) -> None:
        if unprotected and (keys or issuer):
            raise Misconfigured("web.unprotected is set beside keys or an issuer: decide for one of them.")
        if not (unprotected or keys or issuer):
            raise Misconfigured(
                "Nobody could ask the results service anything: set web.issuer or web.api_keys"
                " (`eyestream web key NAME` makes a key), or web.unprotected for trials on this machine."
            )
        self._keys, self._issuer, self._unprotected = keys, issuer, unprotected
        self._requests = requests

    async def principal(self, bearer: str | None) -> Principal:
        """Raises Problem 401 for a proof that is missing or none, 429 for one request too many."""
        principal = _ANYBODY if self._unprotected else await self._proven(bearer)
        wait_s = self._requests.take(f"{principal.how}:{principal.who}")
        if wait_s:
            detail = "You ask more often than you may: wait as long as Retry-After says."
            raise Problem(429, "too-many-requests", detail, headers={"Retry-After": whole_seconds(wait_s)})
        return principal

    async def _proven(self, bearer: str | None) -> Principal:
        if not bearer:
            raise _unproven("Send a token or an API key: `Authorization: Bearer …`.", "")
        principal: Principal | None = None
        if bearer.startswith(PREFIX):
            principal = self._keys.principal(bearer) if self._keys else None
        elif self._issuer is not None:
            try:
                principal = await self._issuer.principal(bearer)
            except NotOurs:
                principal = None
        if principal is None:
            detail = "The token or key is not valid: it may have expired, or be meant for another service."
            raise _unproven(detail, ', error="invalid_token"')
        return principal


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that may be answered: by what, for whom."""

    services: Services
    principal: Principal
    actor: Actor

    def require(self, scope: str, programme: str) -> None:
        """Raises Problem 403 unless they hold the scope for this programme."""
        if not self.principal.may(scope, programme):
            raise self.not_allowed(f"{scope}@{programme}")

    def not_allowed(self, *missing: str, where: str = "") -> Problem:
        """The refusal of a request that needs these scopes, `where` in words."""
        self.services.metrics.refusals.labels("not-allowed").inc()
        return Problem(
            403,
            "not-allowed",
            f"This needs the scope {' and '.join(missing)}{where}: ask whoever gave you the token or key.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(missing)}"'},
        )

    async def record(
        self, action: str, *, exam_id: str = "", image_id: str = "", programme: str = "", detail: str = ""
    ) -> None:
        """Put it on record. Before anything is shown: what cannot be recorded is not shown."""
        entry = self.entry(action, exam_id=exam_id, image_id=image_id, programme=programme, detail=detail)
        await self.services.audit.record([entry])

    def entry(
        self, action: str, *, exam_id: str = "", image_id: str = "", programme: str = "", detail: str = ""
    ) -> Entry:
        """The record's entry for what this visit is about to do."""
        self.services.metrics.deeds.labels(action).inc()
        return Entry(
            actor=self.actor,
            action=action,
            at=self.services.clock(),
            exam_id=exam_id,
            image_id=image_id,
            programme=programme,
            detail=detail,
        )


async def visit_some(
    request: Request,
    wanted: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
) -> Visit:
    """The request's Visit, whose scopes hold in some programme: the route itself must leave out what is of others.

    Raises Problem 401, 403 or 429.
    """
    services: Services = request.app.state.services
    try:
        principal = await services.guard.principal(credentials.credentials if credentials else None)
    except Problem as problem:
        services.metrics.refusals.labels(problem.kind).inc()
        raise
    actor = Actor(who=principal.who, how=principal.how, request=request_id_of(request))
    made = Visit(services, principal, actor)
    if missing := [scope for scope in wanted.scopes if scope not in principal.scopes]:
        raise made.not_allowed(*missing)
    return made


async def visit(request: Request, wanted: SecurityScopes, made: Annotated[Visit, Security(visit_some)]) -> Visit:
    """The request's Visit, whose scopes hold for the programme that its path names, or that its exam is of.

    A path that names neither is for those alone who hold the scopes for every programme: a new route is closed to all
    others until it is told what to leave out. Raises Problem 401, 403, 404 or 429.
    """
    principal, path = made.principal, request.path_params
    narrow = [scope for scope in wanted.scopes if principal.reach(scope) is not None]
    if not narrow:
        return made
    programme: str | None = path.get("programme")
    if "exam_id" in path:
        [reading] = await made.services.readings.readings([path["exam_id"]])
        if reading is None or not principal.may("read", reading.programme):
            raise unknown_exam()  # that it is there is no business of theirs either
        programme = reading.programme
    if programme is None:
        raise made.not_allowed(*narrow, where=" for every programme")
    if missing := [scope for scope in narrow if not principal.may(scope, programme)]:
        raise made.not_allowed(*(f"{scope}@{programme}" for scope in missing))
    return made


def unknown_exam() -> Problem:
    """Nothing is known of the exam that was asked for."""
    detail = "Nothing is known of this exam: it may have been kept for as long as its programme says."
    return Problem(404, "unknown-exam", detail)


def _unproven(detail: str, error: str) -> Problem:
    return Problem(401, "not-authenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="eyestream"{error}'})


Known = Annotated[Visit, Security(visit_some)]
Reader = Annotated[Visit, Security(visit, scopes=["read"])]
Decider = Annotated[Visit, Security(visit, scopes=["read", "decide"])]
Explorer = Annotated[Visit, Security(visit, scopes=["read", "score"])]
SomeReader = Annotated[Visit, Security(visit_some, scopes=["read"])]
SomeSender = Annotated[Visit, Security(visit_some, scopes=["score"])]
SomeOperator = Annotated[Visit, Security(visit_some, scopes=["operate"])]
