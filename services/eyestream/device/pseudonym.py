"""Keyed pseudonyms: how a patient's number becomes one nobody can turn back without the site's key.

Nothing here knows files or Kafka. The key stays with the site; whoever holds it can recompute a pseudonym from a
number, nobody else can, not even by trying every number there is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from pathlib import Path
from typing import Final

from eyestream.errors import Misconfigured, Rejected

KEY_BYTES: Final = 32
_PSEUDONYM_BYTES: Final = 20
"""160 bits: 32 characters of base32, and no two patients of any nation share one."""


class SiteKey:
    """The site's secret. It cannot be printed, pickled or compared; it makes pseudonyms and nothing else."""

    __slots__ = ("__secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < KEY_BYTES:
            raise Misconfigured(f"a site key has at least {KEY_BYTES} bytes; make one with `eyestream device keygen`")
        self.__secret = bytes(secret)

    def __repr__(self) -> str:
        return "SiteKey(…)"

    def __reduce__(self) -> str:
        msg = "a site key stays in the process that read it"
        raise TypeError(msg)

    def subject(self, patient_number: str, *, namespace: str) -> str:
        """The patient's pseudonym: always the same one for a number of a namespace, and different ones for others.

        The namespace says whose numbers these are (the site), since two hospitals both have a patient 1. Raises
        Rejected when the number is blank.
        """
        return self._keyed("subject", namespace, _normal(patient_number, "patient"))

    def exam(self, exam_number: str, *, namespace: str) -> str:
        """The exam's pseudonym, made of a study's UID, an accession number or the like. As `subject`."""
        return self._keyed("exam", namespace, _normal(exam_number, "exam"))

    def uid(self, content: bytes) -> str:
        """A DICOM UID for these bytes; the same bytes have the same one."""
        return f"2.25.{int.from_bytes(self._mac('uid', content)[:16], 'big')}"

    def fingerprint(self, text: str) -> str:
        """A mark to know a file again by that does not tell its name."""
        return self._keyed("file", text)

    def _keyed(self, *parts: str) -> str:
        purpose, *rest = parts
        # A file's name may be of bytes that are no UTF-8, as on a share from another system: it counts as those bytes.
        mac = self._mac(purpose, *(part.encode(errors="surrogateescape") for part in rest))
        return base64.b32encode(mac[:_PSEUDONYM_BYTES]).decode().lower()

    def _mac(self, purpose: str, *parts: bytes) -> bytes:
        """HMAC-SHA256 over the parts, each preceded by its length, so that no two lists of parts share one."""
        state = hmac.new(self.__secret, digestmod=hashlib.sha256)
        for part in (b"eyestream", purpose.encode(), *parts):
            state.update(len(part).to_bytes(8, "big"))
            state.update(part)
        return state.digest()


def create_key(path: Path) -> None:
    """Write a new key that only its owner can read. Never overwrites: a lost key is a lost link to every patient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Misconfigured(f"{path} exists; a key is never replaced, since every pseudonym would change") from None
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> SiteKey:
    """The key in the file. Raises Misconfigured when it is missing, damaged, or others than its owner can read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise Misconfigured(f"there is no site key at {path}; make one with `eyestream device keygen`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the site key at {path} cannot be read: {type(error).__name__}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise Misconfigured(
            f"others can read the site key; `chmod 600 {path}`, and consider whether it is still secret"
        )
    try:
        return SiteKey(bytes.fromhex(text))
    except ValueError:
        raise Misconfigured(f"{path} is no site key: {2 * KEY_BYTES} hexadecimal digits are expected") from None


def _normal(number: str, whose: str) -> str:
    """The number as every system of the site writes it: composed characters, no blanks or NULs around it."""
    plain = unicodedata.normalize("NFC", number).strip(" \t\r\n\0")
    if not plain:
        raise Rejected(f"no-{whose}", f"The {whose}'s number is blank; enter one.", stage="device")
    return plain
