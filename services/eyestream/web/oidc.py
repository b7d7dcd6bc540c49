"""Bearer tokens of an OpenID provider: verified against its keys, which are cached and may rotate. Knows no request."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import jwt

from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import JSON, now
from eyestream.telemetry import Verb
from eyestream.web.principals import KEY_HOLDER, Grant, Principal

log = logging.getLogger(__name__)

_PART: Final = "token issuer"
_LONGEST: Final = 8192
_ANSWER_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 5.0
_LEEWAY_S: Final = 30.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Fetch = Callable[[str], bytes]


class NotOurs(Exception):
    """The token is no proof: malformed, expired, for somebody else, or not signed by the issuer."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """What is asked over https:// is not to be answered over less."""

    def redirect_request(  # noqa: PLR0917  as urllib has it
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str) -> bytes:
    """The first MiB behind a URL. Blocks.

    Raises OSError when it does not answer, or not in HTTP, and Misconfigured when it sends us where nothing is safe.
    """
    try:
        with urllib.request.build_opener(_SafeRedirects).open(url, timeout=_TIMEOUT_S) as answer:
            data: bytes = answer.read(_ANSWER_BYTES)
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from error
    return data


class Issuer:
    """One OpenID provider.

    Its keys are fetched when first needed, when older than `max_age_s`, and when a token names one that is not known,
    the last at most once in `min_age_s`, so that invented tokens do not make us ask on and on. While the provider is
    away the keys it gave last go on being believed, and nobody whose key is among them waits for another's question.
    """

    def __init__(
        self,
        url: str,
        *,
        audience: str,
        algorithms: Sequence[str],
        scope_claim: str = "scope",
        scope_prefix: str = "eyestream:",
        max_age_s: float = 300.0,
        min_age_s: float = 10.0,
        fetch: Fetch = fetch,
        clock: Callable[[], float] = now,
    ) -> None:
        self._url = url.rstrip("/")
        self._issuer = url
        _require_safe(url)
        self._audience = audience
        self._algorithms = frozenset(algorithms)
        self._scope_claim, self._scope_prefix = scope_claim, scope_prefix
        self._max_age_s, self._min_age_s = max_age_s, min_age_s
        self._fetch, self._clock = fetch, clock
        self._keys: Mapping[str, JSON] = {}
        self._fetched = self._tried = float("-inf")
        self._away = False
        self._fetching = asyncio.Lock()

    async def principal(self, token: str) -> Principal:
        """Whose token this is. Raises NotOurs, or Unavailable when no key was ever to be had."""
        if len(token) > _LONGEST or not token.isascii():
            raise NotOurs
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise NotOurs from None
        if header.get("alg") not in self._algorithms:
            raise NotOurs
        key = await self._key(header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                jwt.PyJWK(key, key.get("alg") or header["alg"]),  # whose key names no algorithm may use any of its kind
                algorithms=[header["alg"]],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            raise NotOurs from None
        return self._principal(claims)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        who, expires, begins = claims["sub"], claims["exp"], claims.get("nbf", 0)
        if not isinstance(expires, int | float) or not isinstance(begins, int | float):
            raise NotOurs
        at = self._clock()
        if expires + _LEEWAY_S <= at or begins - _LEEWAY_S > at:
            raise NotOurs
        if not isinstance(who, str) or not 0 < len(who) <= 128 or not who.isprintable():  # noqa: PLR2004  fits a log
            raise NotOurs
        if who.startswith(KEY_HOLDER):
            raise NotOurs  # or it would hold and decide exams as that key's holder
        held = claims.get(self._scope_claim, "")
        words = held.split() if isinstance(held, str) else held if isinstance(held, list) else []
        return Principal(who=who, how="oidc", grants=frozenset(self._grants(words)), expires=float(expires))

    def _grants(self, words: Iterable[object]) -> Iterator[Grant]:
        """Those of ours: a token may hold scopes of other services too."""
        for word in words:
            if isinstance(word, str) and word.startswith(self._scope_prefix):
                with contextlib.suppress(ValueError):
                    yield Grant.parse(word.removeprefix(self._scope_prefix))

    async def _key(self, kid: object) -> JSON:
        if self._since(self._fetched) >= self._max_age_s or (
            self._find(kid) is None and self._since(self._tried) >= self._min_age_s
        ):
            await self._refresh(kid)
        key = self._find(kid)
        if key is None:
            raise NotOurs
        return key

    def _since(self, at: float) -> float:
        """How long ago; a clock that was put back counts too, or the keys would be old for as long as that and stay."""
        return abs(self._clock() - at)

    def _find(self, kid: object) -> JSON | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _refresh(self, kid: object) -> None:
        if self._away and self._fetching.locked() and self._find(kid) is not None:
            return
        async with self._fetching:
            fresh = self._since(self._fetched) < self._max_age_s
            if fresh and self._find(kid) is not None:
                return  # somebody else has just fetched it
            if self._since(self._tried) < self._min_age_s:
                if not self._keys:
                    raise Unavailable(_PART, "it gave no keys a moment ago")
                return
            self._tried = self._clock()
            try:
                self._keys = await asyncio.to_thread(self._ask)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError, Misconfigured) as error:
                self._away = True
                why = str(error) if isinstance(error, Misconfigured) else type(error).__name__
                log.warning("the token issuer gives no keys (%s)", why, extra={"action": Verb.RETRIED, "part": _PART})
                if not self._keys:
                    raise error if isinstance(error, Misconfigured) else Unavailable(_PART, why) from error
            else:
                self._away, self._fetched = False, self._clock()

    def _ask(self) -> dict[str, JSON]:
        about = json.loads(self._fetch(f"{self._url}/.well-known/openid-configuration"))
        if about["issuer"] != self._issuer:
            raise ValueError("the provider calls itself otherwise")
        _require_safe(about["jwks_uri"])
        found = {}
        for entry in json.loads(self._fetch(about["jwks_uri"]))["keys"]:
            if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
                continue
            try:
                jwt.PyJWK(entry)
            except jwt.PyJWTError:
                continue  # of a kind we do not know; the others will do
            found[str(entry.get("kid", ""))] = entry
        return found


def _require_safe(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise Misconfigured(f"The token issuer must be asked over https://, or on this machine: {url!r} is neither.")
