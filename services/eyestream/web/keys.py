"""API keys: made, kept as hashes in a file, checked. Knows no request.

A key is 256 random bits, so one round of SHA-256 hides it as well as any slow hash would, and costs a caller nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import logging
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from eyestream.errors import Misconfigured
from eyestream.records import Sha256, Slug, now
from eyestream.telemetry import Verb
from eyestream.web.principals import KEY_HOLDER, Grant, Principal, ordered

log = logging.getLogger(__name__)

PREFIX: Final = "esk_"
_KEY: Final = re.compile(r"esk_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
_LOOK_S: Final = 1.0


class KeyEntry(BaseModel):
    """One key as the file has it: everything but the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9]{12}$")]
    name: Slug
    sha256: Sha256
    scopes: Annotated[frozenset[Annotated[Grant, PlainValidator(Grant.parse)]], Field(min_length=1)]
    expires: AwareDatetime | None = None


_FILE: Final = TypeAdapter(dict[str, list[KeyEntry]])


def make_key(name: str, scopes: Iterable[str], *, expires: dt.datetime | None = None) -> tuple[str, str]:
    """A new key, to be shown once, and the lines for the file.

    Raises Misconfigured for a name that is no slug, or for what is no scope.
    """
    key_id = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(12))
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    try:
        made = KeyEntry.model_validate(
            {"id": key_id, "name": name, "sha256": digest, "scopes": frozenset(scopes), "expires": expires}
        )
    except ValidationError as error:
        raise Misconfigured(f"no key can be made so: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from None
    chosen = [str(grant) for grant in ordered(made.scopes)]
    lines = ["[[key]]", f'id = "{key_id}"', f'name = "{name}"', f'sha256 = "{digest}"', f"scopes = {chosen}"]
    if expires is not None:
        lines.append(f"expires = {expires.isoformat()}")
    return key, "\n".join(lines).replace("'", '"') + "\n"


class KeyFile:
    """The keys of a file, read again when it changes; a file that became wrong is logged and the old one stands.

    Raises Misconfigured when the file is wrong to begin with.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = now) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._stamp = self._stamp_now()
        self._entries = _read(path)

    def principal(self, key: str) -> Principal | None:
        """Whose key this is, or None when it is nobody's or has expired."""
        self._look()
        match = _KEY.fullmatch(key)
        entry = self._entries.get(match[1]) if match else None
        if entry is None or not hmac.compare_digest(hashlib.sha256(key.encode()).hexdigest(), entry.sha256):
            return None
        expires = entry.expires.timestamp() if entry.expires else None
        if expires is not None and expires <= self._clock():
            return None
        return Principal(who=f"{KEY_HOLDER}{entry.name}", how="api-key", grants=entry.scopes, expires=expires)

    def _look(self) -> None:
        if abs(self._clock() - self._looked) < _LOOK_S:  # also of a clock that was put back
            return
        self._looked = self._clock()
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._stamp, self._entries = stamp, _read(self._path)
        except Misconfigured as error:
            log.warning("%s The keys read before stand.", error, extra={"action": Verb.REFUSED})

    def _stamp_now(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise Misconfigured(f"The API keys' file {self._path} cannot be read: {error.strerror}.") from None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> dict[str, KeyEntry]:
    try:
        entries = _FILE.validate_python(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"The API keys' file {path} cannot be read: {type(error).__name__}.") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise Misconfigured(f"The API keys' file {path} is wrong at {where}: {fault['msg']}.") from None
    if entries.keys() - {"key"}:
        raise Misconfigured(f"The API keys' file {path} holds more than [[key]] tables.")
    keys = entries.get("key", [])
    if len({entry.id for entry in keys}) != len(keys):
        raise Misconfigured(f"The API keys' file {path} holds one id twice.")
    return {entry.id: entry for entry in keys}
