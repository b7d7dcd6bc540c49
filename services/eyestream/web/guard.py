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
from eyestream.web.principals import EXPLAINED, SCOPES, Principal
from eyestream.web.problems import Problem, request_id_of
from eyestream.web.services import Services

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="A token of the OpenID provider, or an API key. Scopes: "
    + "; ".join(f"`{scope}`: {words}" for scope, words in EXPLAINED.items())
    + ".",
)
_ANYBODY: Final = Principal(who="anybody", how="unprotected", scopes=frozenset(SCOPES))


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


async def visit(
    request: Request,
    wanted: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
) -> Visit:
    """The request's Visit; raises Problem 401, 403 or 429."""
    services: Services = request.app.state.services
    try:
        principal = await services.guard.principal(credentials.credentials if credentials else None)
    except Problem as problem:
        services.metrics.refusals.labels(problem.kind).inc()
        raise
    missing = [scope for scope in wanted.scopes if scope not in principal.scopes]
    if missing:
        services.metrics.refusals.labels("not-allowed").inc()
        raise Problem(
            403,
            "not-allowed",
            f"This needs the scope {' and '.join(missing)}: ask whoever gave you the token or key.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(missing)}"'},
        )
    actor = Actor(who=principal.who, how=principal.how, request=request_id_of(request))
    return Visit(services, principal, actor)


def _unproven(detail: str, error: str) -> Problem:
    return Problem(401, "not-authenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="eyestream"{error}'})


Known = Annotated[Visit, Security(visit)]
Reader = Annotated[Visit, Security(visit, scopes=["read"])]
Decider = Annotated[Visit, Security(visit, scopes=["read", "decide"])]
Sender = Annotated[Visit, Security(visit, scopes=["score"])]
Explorer = Annotated[Visit, Security(visit, scopes=["read", "score"])]
Operator = Annotated[Visit, Security(visit, scopes=["operate"])]
