"""One message → one capture: metadata, the file itself (here or by reference), checksum, pixels.

Blocking and CPU-bound: the line runs it in threads. Every fault of a single picture is raised here, before it can share
a batch with others. Knows neither brokers nor encoders.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from eyestream import decoding, objects, records, telemetry
from eyestream.brokers.deadletters import redrives
from eyestream.decoding import Limits, Preprocessing
from eyestream.errors import Rejected
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_REF, HEADER_TRACEPARENT, Capture, ImageMeta, Message, Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """How pictures are taken in: the encoder's input, what a picture may weigh, where references may point."""

    preprocessing: Preprocessing
    height: int
    width: int
    limits: Limits
    references: tuple[str, ...] = ()

    def capture(self, message: Message, programmes: Container[str]) -> Capture:
        """The message's picture, ready for the encoder.

        Raises Rejected when the picture or its headers are at fault, or its programme is not one of `programmes`;
        Unavailable when the object store that holds it is away. Thread-safe.
        """
        meta = decoding.read_meta(message.headers)
        if meta.programme not in programmes:
            raise Rejected(
                "unknown-programme",
                f"No bank is in service for programme {meta.programme!r}: activate one, or mend the device's settings.",
                stage="meta",
            )
        value = self._value(message, meta)
        decoding.verify_sha256(value, meta)
        pixels = decoding.decode(
            value,
            preprocessing=self.preprocessing,
            height=self.height,
            width=self.width,
            limits=self.limits,
            orientation=meta.orientation,
            content_type=_text(message.headers.get(HEADER_CONTENT_TYPE)),
        )
        return Capture(
            meta=meta,
            pixels=pixels,
            message=message,
            timings=Timings(
                captured=meta.captured_at.timestamp(),
                produced=message.produced,
                fetched=message.fetched,
                decoded=records.now(),
            ),
            traceparent=telemetry.child_traceparent(_text(message.headers.get(HEADER_TRACEPARENT))),
        )

    def _value(self, message: Message, meta: ImageMeta) -> bytes:
        reference = message.headers.get(HEADER_REF)
        if reference is None:
            return message.value
        return objects.fetch(
            reference.decode("utf-8", "replace"),
            sha256=meta.sha256,
            max_bytes=self.limits.max_bytes,
            allowed=self.references,
        )


def meta_of(message: Message) -> ImageMeta | None:
    """The message's metadata where it can be read at all; for what must be told of a picture already refused."""
    try:
        return decoding.read_meta(message.headers)
    except Rejected:
        return None


def attempts_of(message: Message) -> int:
    """How often this picture has been tried, this time included: one more than it was redriven."""
    return 1 + redrives(message.headers.items())


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")
