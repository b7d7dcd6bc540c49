"""Dead letters: how a message that cannot be screened is written down, read again and made whole.

Knows the record's headers, not how Kafka carries them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from eyestream.errors import Rejected
from eyestream.records import HEADER_META, LATEST_CAPTURE, ImageMeta, Message, Position

Headers = Sequence[tuple[str, bytes]]

REASON: Final = "eyestream-reason"
STAGE: Final = "eyestream-stage"
EXPLANATION: Final = "eyestream-explanation"
ATTEMPTS: Final = "eyestream-attempts"
ORIGINAL_TOPIC: Final = "eyestream-original-topic"
ORIGINAL_PARTITION: Final = "eyestream-original-partition"
ORIGINAL_OFFSET: Final = "eyestream-original-offset"
PRODUCED_AT: Final = "eyestream-produced-at"
FAILED_AT: Final = "eyestream-failed-at"
VALUE: Final = "eyestream-value"

OURS: Final = (
    REASON,
    STAGE,
    EXPLANATION,
    ATTEMPTS,
    ORIGINAL_TOPIC,
    ORIGINAL_PARTITION,
    ORIGINAL_OFFSET,
    PRODUCED_AT,
    FAILED_AT,
    VALUE,
)
"""What a dead letter adds, as its last headers and in this order; the original's own come before, untouched."""

REDRIVE_COUNT: Final = "eyestream-redrive-count"
REDRIVEN_FROM: Final = "eyestream-redriven-from"
REDRIVEN: Final = "eyestream-redriven"

UNREADABLE: Final = "eyestream-unreadable"
"""Header of a message that stands in for a record whose bytes the client could not read."""

_SLUG: Final = re.compile(r"^[a-z0-9][a-z0-9-]{0,62}$")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that could not be screened, without its picture.

    `position` is where it lies among the dead letters, `original` where it was read. `headers` are the original's own.
    `nbytes` is the picture's size; `carried` is False when the picture was too large to travel and lies only at
    `original`. `meta` is None when the device's metadata cannot be read. `redrives` counts how often the message had
    been put back before it failed; `redriven` says that this dead letter was put back.
    """

    position: Position
    original: Position
    reason: str
    stage: str
    explanation: str
    attempts: int
    produced: float
    failed: float
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    nbytes: int
    carried: bool
    meta: ImageMeta | None
    redrives: int
    redriven: bool = False


def address(position: Position) -> str:
    """`topic/partition/offset`, as the command line prints and reads it."""
    return f"{position.topic}/{position.partition}/{position.offset}"


def dead_letter_headers(
    message: Message, rejection: Rejected, *, attempts: int, failed: float, carried: bool = True
) -> list[tuple[str, bytes]]:
    """The headers of the message's dead letter: its own, then ours.

    A device that sends headers of our names confuses nobody: ours come last, and the last one counts.
    """
    at = message.position
    unreadable = message.headers.get(UNREADABLE)
    reason, stage, explanation = rejection.reason, rejection.stage, rejection.explanation
    if unreadable is not None:
        reason, stage, explanation = "unreadable-record", "kafka", unreadable.decode(errors="replace")
    ours = (
        reason,
        stage,
        explanation,
        str(attempts),
        at.topic,
        str(at.partition),
        str(at.offset),
        f"{message.produced:.3f}",
        f"{failed:.3f}",
        f"{'carried' if carried else 'left'} {len(message.value)}",
    )
    own = [(name, value) for name, value in message.headers.items() if name != UNREADABLE]
    return own + [(name, value.encode()) for name, value in zip(OURS, ours, strict=True)]


def parse(position: Position, *, key: bytes | None, headers: Headers, nbytes: int) -> DeadLetter | None:
    """Read a record of the dead-letter topic; None when it is not one of our dead letters.

    Everything printable in the result is safe for a terminal, whatever a device put into its headers.
    """
    if tuple(name for name, _ in headers[-len(OURS) :]) != OURS:
        return None
    own = tuple((name, value or b"") for name, value in headers[: -len(OURS)])
    ours = {name: (value or b"").decode(errors="replace") for name, value in headers[-len(OURS) :]}
    carried, _, size = ours[VALUE].partition(" ")
    try:
        return DeadLetter(
            position=position,
            original=Position(ours[ORIGINAL_TOPIC], _count(ours[ORIGINAL_PARTITION]), _count(ours[ORIGINAL_OFFSET])),
            reason=_slug(ours[REASON]),
            stage=_slug(ours[STAGE]),
            explanation=_printable(ours[EXPLANATION]),
            attempts=_count(ours[ATTEMPTS]),
            produced=_time(ours[PRODUCED_AT]),
            failed=_time(ours[FAILED_AT]),
            key=key,
            headers=own,
            nbytes=nbytes if carried == "carried" else _count(size),
            carried=carried == "carried",
            meta=_meta(own),
            redrives=redrives(own),
        )
    except ValueError:
        return None


def redrives(headers: Iterable[tuple[str, bytes]]) -> int:
    """How often a message with these headers was put back; a count that is not one of ours reads as 0."""
    count = dict(headers).get(REDRIVE_COUNT, b"0")
    return int(count) if count.isdigit() and len(count) <= 4 else 0  # noqa: PLR2004  longer was not written by us


def original_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """The headers to put the message back with: its own, how often it was put back, and from which dead letter."""
    own = [(name, value) for name, value in letter.headers if name not in {REDRIVE_COUNT, REDRIVEN_FROM}]
    return [
        *own,
        (REDRIVE_COUNT, str(letter.redrives + 1).encode()),
        (REDRIVEN_FROM, address(letter.position).encode()),
    ]


def marker_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    """Headers of the record that says, among the dead letters themselves, that this one was put back."""
    return [(REDRIVEN, address(letter.position).encode())]


def marked(headers: Headers) -> str | None:
    """The address of the dead letter that a record with these headers marks as put back."""
    if len(headers) == 1 and headers[0][0] == REDRIVEN:
        return (headers[0][1] or b"").decode(errors="replace")
    return None


def as_mapping(headers: Headers | None) -> Mapping[str, bytes]:
    """Headers by name; of several with one name the last counts."""
    return {name: value or b"" for name, value in headers or ()}


def count_by_reason(letters: Iterable[DeadLetter]) -> dict[tuple[str, str], int]:
    """(reason, stage) → how many, most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for letter in letters:
        kind = letter.reason, letter.stage
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant; empty means any. `addresses` are `topic/partition/offset`, as `address` writes.

    `since` and `until` are seconds since 1970 of the failure, the second excluded. A letter whose metadata cannot be
    read has no site, programme, exam or image and matches none. With `redriven` False those put back before are out.
    """

    addresses: frozenset[str] = frozenset()
    reason: str | None = None
    stage: str | None = None
    site: str | None = None
    programme: str | None = None
    exam: str | None = None
    image: str | None = None
    since: float | None = None
    until: float | None = None
    redriven: bool = True

    @property
    def everything(self) -> bool:
        """True when nothing was narrowed down."""
        return dataclasses.replace(self, redriven=True) == Selection()

    def __contains__(self, letter: DeadLetter) -> bool:
        meta = letter.meta
        wanted = (
            (self.reason, letter.reason),
            (self.stage, letter.stage),
            (self.site, meta and meta.site_id),
            (self.programme, meta and meta.programme),
            (self.exam, meta and meta.exam_id),
            (self.image, meta and meta.image_id),
        )
        return (
            all(want is None or want == have for want, have in wanted)
            and (not self.addresses or address(letter.position) in self.addresses)
            and (self.since is None or letter.failed >= self.since)
            and (self.until is None or letter.failed < self.until)
            and (self.redriven or not letter.redriven)
        )


def _meta(headers: Iterable[tuple[str, bytes]]) -> ImageMeta | None:
    try:
        return ImageMeta.model_validate_json(dict(headers).get(HEADER_META, b""))
    except ValidationError:
        return None


def _count(text: str) -> int:
    if (count := int(text)) < 0:
        raise ValueError(text)
    return count


def _time(text: str) -> float:
    """A time that a calendar has; any other was not written by us, and would keep the whole list from being shown."""
    if not 0 <= (seconds := float(text)) < LATEST_CAPTURE.timestamp():
        raise ValueError(text)
    return seconds


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _slug(text: str) -> str:
    return text if _SLUG.match(text) else "unknown"
