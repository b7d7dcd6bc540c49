"""The published banks, in a folder, exchanged without a restart. Nothing here knows how a head was built.

    heads/<digest>.safetensors     every head ever published
    programmes/<digest>.toml       every programme text ever published
    current/<programme>.json       which pair is in service, and which were before: replaced whole, never edited

Files are written whole or not at all, and a pointer only after what it points to, so a crash leaves the shelf valid.
Readers need no lock; two publishers at once are put in order by one. A read-only copy will do to serve.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from eyestream.banks import files
from eyestream.banks.head import SUFFIX, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import Digest, now
from eyestream.telemetry import Verb

log = logging.getLogger(__name__)

MIN_PREFIX: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """A programme and the head that scores for it. Raises Misconfigured when they judge different conditions."""

    programme: Programme
    head: ScoreHead

    def __post_init__(self) -> None:
        asked = {(condition.id, condition.role) for condition in self.programme.conditions}
        judged = {(judge.condition, judge.role) for judge in self.head.judges}
        if asked != judged:
            differ = ", ".join(sorted(name for name, _ in asked ^ judged))
            raise Misconfigured(
                f"programme {self.programme.name!r} and its head differ in {differ}: build the bank again"
            )


@dataclass(frozen=True, slots=True)
class Edition:
    """One pair of programme and head; `since` is when it was published, or put into service, in seconds since 1970."""

    programme: Digest
    head: Digest
    since: float

    @property
    def pair(self) -> tuple[Digest, Digest]:
        """What is served, whenever."""
        return self.programme, self.head


@dataclass(frozen=True, slots=True)
class _Pointer:
    """`published` in the order of publishing; `served` in the order of service, the last being current."""

    name: str
    published: tuple[Edition, ...] = ()
    served: tuple[Edition, ...] = ()


_POINTER: Final = TypeAdapter(_Pointer)
_Stamp = tuple[int, int, int]


class Shelf:
    """A folder of banks. Every method blocks on the disk for a moment; none keeps a file open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder: Digest | None = None
        self._preprocessing: Digest | None = None
        self._stamps: dict[str, _Stamp] = {}
        self._served: dict[str, Edition] = {}
        self._refused: dict[str, str] = {}

    def publish(self, programme: Programme, head: ScoreHead) -> Digest:
        """Keep the pair, durably; the head's digest. Serves nothing yet. Publishing it again changes nothing."""
        Bank(programme, head)
        head.save(self._folder / "heads")
        path = self._folder / "programmes" / f"{programme.digest}.toml"
        if not path.exists():
            files.write(path, programme.text.encode())
        with self._writing(programme.name) as pointer:
            if not any(e.pair == (programme.digest, head.digest) for e in pointer.published):
                edition = Edition(programme.digest, head.digest, now())
                self._write(_Pointer(pointer.name, (*pointer.published, edition), pointer.served))
        return head.digest

    def activate(self, programme_name: str, digest: str) -> Edition:
        """Put the newest published pair with that head, or that programme text, into service.

        `digest` may be a prefix of six characters or more. Durable when it returns; lines follow at their next poll.
        Raises Misconfigured when no pair, or more than one head or text, answers to it, or when a file was altered.
        """
        with self._writing(programme_name) as pointer:
            found = [e for e in pointer.published if e.head.startswith(digest) or e.programme.startswith(digest)]
            if len(digest) < MIN_PREFIX or not found:
                known = ", ".join(e.head[:12] for e in pointer.published) or "none"
                raise Misconfigured(f"{programme_name}: no published bank {digest!r}; there are: {known}")
            if len({d for e in found for d in e.pair if d.startswith(digest)}) > 1:
                raise Misconfigured(f"{programme_name}: {digest!r} is more than one bank; give more of its digest")
            return self._serve(pointer, found[-1])

    def rollback(self, programme_name: str) -> Edition:
        """Put the pair that served before the current one back; a second time, the one before that."""
        with self._writing(programme_name) as pointer:
            if len(pointer.served) < 2:  # noqa: PLR2004 - the current one and one before
                raise Misconfigured(f"{programme_name}: nothing served before the current bank")
            before = pointer.served[:-1]
            self._bank(programme_name, before[-1])
            self._write(_Pointer(pointer.name, pointer.published, before))
            return before[-1]

    def current(self, programme_name: str) -> Bank | None:
        """The bank in service, whatever encoder it is for."""
        served = self._read(programme_name).served
        return self._bank(programme_name, served[-1]) if served else None

    def history(self, programme_name: str) -> tuple[Edition, ...]:
        """The pairs that served, oldest first; what a rollback left is not among them."""
        return self._read(programme_name).served

    def published(self, programme_name: str) -> tuple[Edition, ...]:
        """Every pair ever published, oldest first."""
        return self._read(programme_name).published

    def programmes(self) -> tuple[str, ...]:
        """Names of the programmes that were ever published here."""
        try:
            return tuple(sorted(path.stem for path in (self._folder / "current").glob("[!.]*.json")))
        except OSError as error:
            raise Misconfigured(f"{self._folder} cannot be looked into: {error.strerror}") from None

    def open(self, encoder_digest: Digest, preprocessing_digest: Digest | None = None) -> dict[str, Bank]:
        """Every bank in service, by programme, for the encoder that is served; `poll` then reports what changes.

        Raises Misconfigured when one of them was built for another encoder or preprocessing, or cannot be read.
        """
        self._encoder, self._preprocessing = encoder_digest, preprocessing_digest
        self._refused.clear()
        banks = {}
        for name in self.programmes():
            self._stamps[name] = self._stamp(name)
            pointer = self._read(name)
            if pointer.served:
                banks[name] = self._fitting(name, pointer.served[-1])
                self._served[name] = pointer.served[-1]
        return banks

    def poll(self) -> dict[str, Bank]:
        """The banks that changed since `open` or the last poll, most often none: one `stat` a programme.

        A bank that does not fit is not in the answer but in `refused` and in the log; the caller goes on with the one
        it has, and each poll tries again. A pointer that is gone takes nothing out of service.
        """
        if self._encoder is None:
            raise ValueError("open the shelf before polling it")
        changed = {}
        try:
            names = self.programmes()
        except Misconfigured as error:  # a share that is away for a moment: the banks at hand are as good as before
            log.warning("%s", error, extra={"action": Verb.RETRIED, "part": "shelf"})
            return {}
        for name in names:
            try:
                stamp = self._stamp(name)
                if stamp == self._stamps.get(name):
                    self._refused.pop(name, None)
                    continue
                pointer = self._read(name)
                if pointer.served and self._served.get(name) != pointer.served[-1]:
                    changed[name] = self._fitting(name, pointer.served[-1])
                    self._served[name] = pointer.served[-1]
                self._stamps[name] = stamp
                self._refused.pop(name, None)
            except Misconfigured as error:
                if self._refused.get(name) != str(error):
                    log.warning("bank refused: %s", error, extra={"action": Verb.REFUSED, "programme": name})
                self._refused[name] = str(error)
            except FileNotFoundError:
                continue
        return changed

    @property
    def refused(self) -> Mapping[str, str]:
        """Programmes whose pointer names a bank that does not fit, and why; empty when all is well."""
        return dict(self._refused)

    def _fitting(self, name: str, edition: Edition) -> Bank:
        bank = self._bank(name, edition)
        origin = bank.head.provenance
        if origin.encoder != self._encoder:
            raise Misconfigured(
                f"the bank {edition.head[:12]} of {name} was built for encoder {origin.encoder[:12]}, "
                f"but {str(self._encoder)[:12]} is served: build it again for that one"
            )
        if self._preprocessing is not None and origin.preprocessing != self._preprocessing:
            raise Misconfigured(
                f"the bank {edition.head[:12]} of {name} was built for preprocessing {origin.preprocessing[:12]}, "
                f"but {self._preprocessing[:12]} is served: build it again for that one"
            )
        return bank

    def _bank(self, name: str, edition: Edition) -> Bank:
        head = ScoreHead.load(self._folder / "heads" / f"{edition.head}{SUFFIX}", expected=edition.head)
        path = self._folder / "programmes" / f"{edition.programme}.toml"
        programme = Programme.load(path)
        if programme.digest != edition.programme or programme.name != name:
            raise Misconfigured(f"{path} was altered, or is not the programme {name}; publish the bank again")
        return Bank(programme, head)

    def _serve(self, pointer: _Pointer, edition: Edition) -> Edition:
        self._bank(pointer.name, edition)
        if pointer.served and pointer.served[-1].pair == edition.pair:
            return pointer.served[-1]
        served = Edition(edition.programme, edition.head, now())
        self._write(_Pointer(pointer.name, pointer.published, (*pointer.served, served)))
        return served

    def _path(self, name: str) -> Path:
        return self._folder / "current" / f"{name}.json"

    def _stamp(self, name: str) -> _Stamp:
        try:
            status = self._path(name).stat()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Misconfigured(f"{self._path(name)} cannot be looked at: {error.strerror}") from None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self, name: str) -> _Pointer:
        path = self._path(name)
        try:
            return _POINTER.validate_json(path.read_bytes())
        except FileNotFoundError:
            return _Pointer(name)
        except (OSError, ValidationError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}") from None

    def _write(self, pointer: _Pointer) -> None:
        files.write(self._path(pointer.name), json.dumps(asdict(pointer), indent=1).encode())

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[_Pointer]:
        """The pointer, with other writers kept out, in this process and in others."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._read(name)
