"""The nouns that travel along the line. Nothing here reads, decodes, scores or stores.

Message  what a broker hands over: a file's own bytes, headers, and where it came from
Capture  a message whose picture was decoded to the encoder's input
Batch    captures that go to the encoder together
Screening  one picture's result with everything needed to explain it
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NewType

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Pixels = npt.NDArray[np.uint8]
"""One decoded picture, [height, width, 3], RGB, 0..255."""
Vectors = npt.NDArray[np.float32]
"""Embeddings, [pictures, dim], L2-normalised by the engine."""

Digest = NewType("Digest", str)
"""A sha256 in lower-case hexadecimal, 64 characters."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")]
Pseudonym = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

META_SCHEMA: Final = 1

HEADER_META = "eyestream-meta"
HEADER_REF = "eyestream-ref"
HEADER_CONTENT_TYPE = "content-type"
HEADER_TRACEPARENT = "traceparent"

Laterality = Literal["R", "L", "U"]
"""Right eye, left eye, unknown: DICOM (0020,0062) ImageLaterality, with U for absent."""
Modality = Literal["CFP", "UWF", "FFA", "OCT", "SLO", "FAF"]
"""Colour fundus, ultra-wide field, fluorescein angiography, OCT, scanning laser, autofluorescence."""
RetinalField = Literal["macula", "disc", "other"]
"""What the picture is centred on; `other` when the camera did not say."""


EARLIEST_CAPTURE: Final = dt.datetime(1990, 1, 1, tzinfo=dt.UTC)
LATEST_CAPTURE: Final = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
"""From when on, and before when, the line believes that a picture was taken."""


class ImageMeta(BaseModel):
    """What the device says of one picture; header `eyestream-meta`, as JSON.

    Every identifier is safe in a Redis key, a URL and a log line. `subject_id` is a keyed pseudonym: eyestream never
    sees the patient's own number. `priority` runs from 0, routine, to 9, at once. `orientation` is the EXIF value, 1 to
    8, that the device took out of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = META_SCHEMA
    image_id: Identifier
    exam_id: Identifier
    subject_id: Pseudonym
    laterality: Laterality = "U"
    modality: Modality = "CFP"
    field: RetinalField = "other"
    site_id: Slug
    device_id: Slug
    captured_at: AwareDatetime
    programme: Slug
    priority: Annotated[int, Field(ge=0, le=9)] = 0
    orientation: Annotated[int, Field(ge=1, le=8)] = 1
    sha256: Sha256

    def to_header(self) -> bytes:
        """The JSON that travels in the Kafka header."""
        return self.model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message lies in its topic.

    `epoch` counts how often this process was given the partition: an acknowledgement from an earlier assignment
    must not move a later one's offset.
    """

    topic: str
    partition: int
    offset: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds since 1970, UTC, at which each stage was done with the picture; None where it did not get there."""

    captured: float
    produced: float
    fetched: float
    decoded: float | None = None
    encoded: float | None = None
    stored: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One record as the broker gave it, unread: `value` is the picture file's own bytes (or empty, by reference)."""

    value: bytes
    headers: Mapping[str, bytes]
    position: Position
    produced: float
    fetched: float
    key: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """One decoded picture on its way to the encoder; `pixels` has the encoder's input size.

    It keeps its message, so that a picture refused late still reaches the dead letters whole.
    """

    meta: ImageMeta
    pixels: Pixels
    message: Message
    timings: Timings
    traceparent: str


Batch = Sequence[Capture]


@dataclass(frozen=True, slots=True)
class Identity:
    """With what a picture was judged. A result is the same result when image and identity are the same."""

    encoder: Digest
    bank: Digest

    def __str__(self) -> str:
        return f"{self.encoder[:16]}-{self.bank[:16]}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One condition looked for in one picture.

    `prompt` is the phrase that spoke loudest for it, `probability` the calibrated value, `threshold` the operating
    point it was held against (`operating_point` names it, e.g. `high-sensitivity`).
    """

    condition: str
    probability: float
    threshold: float
    operating_point: str
    prompt: str

    @property
    def positive(self) -> bool:
        """True when the probability reaches the operating point."""
        return self.probability >= self.threshold


@dataclass(frozen=True, slots=True, eq=False)
class Screening:
    """One picture's result: findings, whether it could be judged, and all that explains it.

    `quality` holds what was asked of the picture itself (blurred? too dark?), in the form of findings; `ungradable`
    names the one that said no, or is None.
    """

    meta: ImageMeta
    identity: Identity
    preprocessing: Digest
    programme: Digest
    findings: tuple[Finding, ...]
    ungradable: str | None
    quality: tuple[Finding, ...]
    position: Position
    timings: Timings
    traceparent: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that went to the dead letters although its metadata could be read: its exam must show it."""

    meta: ImageMeta
    reason: str
    explanation: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """What triage needs of one picture of an exam, whoever screened it and when.

    `subject` is its pseudonym, empty where none is known.
    """

    image_id: str
    laterality: Laterality
    field: RetinalField
    findings: tuple[Finding, ...] = ()
    ungradable: str | None = None
    unreadable: str | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an exam was decided as it was: one finding in one picture."""

    laterality: Laterality
    image_id: str
    finding: Finding
    urgency: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One exam under one programme.

    `outcome` is `refer`, `clear`, `recapture` (what was taken cannot be judged) or `incomplete` (pictures the
    programme asks for have not come yet). `urgency` is a name of the programme's own scale and `rank` its place in
    the worklist, larger first. `eyes` says of each eye `referred`, `clear`, `ungradable` or `missing`.
    """

    exam_id: str
    outcome: Literal["refer", "clear", "recapture", "incomplete"]
    urgency: str
    rank: int
    eyes: Mapping[str, str]
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()


Outcome = Literal["stored", "duplicate", "conflict"]


def digest(*parts: bytes | str) -> Digest:
    """sha256 over the parts, each preceded by its length, so that no two lists of parts share a digest."""
    state = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return Digest(state.hexdigest())


def utc(timestamp: float) -> dt.datetime:
    """Seconds since 1970 as an aware datetime."""
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)


def now() -> float:
    """Seconds since 1970, UTC: the one clock whose values are stored."""
    return dt.datetime.now(dt.UTC).timestamp()


JSON = dict[str, Any]
