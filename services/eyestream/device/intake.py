"""One file -> its pictures in the spool: read, stripped, labelled, named. Knows neither folders nor Kafka."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from eyestream import records
from eyestream.device import labels, pictures
from eyestream.device.frames import Frame, refused
from eyestream.device.labels import Labels, NamePattern
from eyestream.device.pseudonym import SiteKey
from eyestream.device.spool import Spool
from eyestream.errors import Misconfigured
from eyestream.records import EARLIEST_CAPTURE, LATEST_CAPTURE, ImageMeta, Modality

MIB: Final = 2**20
_IMAGE_ID_LENGTH: Final = 40
"""160 bits of sha256 in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What all pictures of this device share."""

    site_id: str
    device_id: str
    programme: str
    modality: Modality = "CFP"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """A file whose pictures are all in the spool; `new` of them were not known.

    `exam_known` is False when nothing said which exam the file belongs to, so that it is an exam of its own.
    """

    image_ids: tuple[str, ...]
    new: int
    exam_known: bool


class Intake:
    """Takes files into the spool.

    Labels win in this order: given, sidecar, the file's own tags, its name. An exam's number becomes a pseudonym unless
    it was given, or `plain_exams` says that the site's exam numbers name nobody; a patient's number always does.
    """

    def __init__(
        self,
        spool: Spool,
        key: SiteKey,
        origin: Origin,
        *,
        given: Labels | None = None,
        pattern: NamePattern | None = None,
        plain_exams: bool = False,
        max_file_bytes: int = 1024 * MIB,
        max_picture_bytes: int = 256 * MIB,
    ) -> None:
        self._spool = spool
        self._key = key
        self._origin = origin
        self._given = given or Labels()
        self._pattern = pattern
        self._plain_exams = plain_exams
        self._max_file_bytes = max_file_bytes
        self._max_picture_bytes = max_picture_bytes

    def take(self, path: Path) -> Taken:
        """Put every picture of the file into the spool; on the disk when this returns, and safe to repeat.

        Raises Rejected, and nothing of the file is spooled; DiskFull or another Unavailable, and whatever is missing is
        put by the next try; OSError when the file itself cannot be read.
        """
        if path.stat().st_size > self._max_file_bytes:
            raise refused("too-many-bytes", f"The file is larger than {self._max_file_bytes} bytes.")
        data = path.read_bytes()
        said = labels.read_sidecar(path)
        named = (self._pattern.read(path) if self._pattern else None) or Labels()
        frames = pictures.read(data, self._key, namespace=self._origin.site_id)
        if max(len(frame.data) for frame in frames) > self._max_picture_bytes:
            text = f"A picture is larger than {self._max_picture_bytes} bytes; an object store would take it."
            raise refused("too-many-bytes", text)
        exam_known = any((self._given.exam, said.exam, frames[0].exam_id, named.exam))
        taken_at = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
        own_exam = hashlib.sha256(frames[0].data).hexdigest()
        guessed = labels.guess(path)
        metas = [self._meta(frame, (said, named, guessed), own_exam, taken_at) for frame in frames]
        new = sum(
            self._spool.put(meta, frame.data, content_type=frame.content_type)
            for meta, frame in zip(metas, frames, strict=True)
        )
        return Taken(tuple(meta.image_id for meta in metas), new, exam_known)

    def _meta(
        self, frame: Frame, said: tuple[Labels, Labels, Labels], own_exam: str, taken_at: dt.datetime
    ) -> ImageMeta:
        given, (sidecar, named, guessed), origin = self._given, said, self._origin
        exam_id = self._exam(frame, sidecar, named) or self._key.exam(own_exam, namespace="picture")
        sha256 = hashlib.sha256(frame.data).hexdigest()
        eye = labels.agree_on_eye(given.laterality, sidecar.laterality, frame.laterality, named.laterality)
        if eye == "U" and frame.laterality is None:
            eye = guessed.laterality or "U"
        priority = next((each for each in (given.priority, sidecar.priority) if each is not None), origin.priority)
        try:
            return ImageMeta(
                image_id=image_id(exam_id, sha256, frame.index),
                exam_id=exam_id,
                subject_id=self._subject(frame, sidecar, named, exam_id),
                laterality=eye,
                modality=given.modality or sidecar.modality or frame.modality or origin.modality,
                field=given.field or sidecar.field or frame.field or named.field or guessed.field or "other",
                site_id=origin.site_id,
                device_id=origin.device_id,
                captured_at=given.captured_at or sidecar.captured_at or _believable(frame.captured_at, taken_at),
                programme=origin.programme,
                priority=priority,
                orientation=frame.orientation,
                sha256=sha256,
            )
        except ValidationError as error:
            names = sorted({str(part["loc"][0]) for part in error.errors()})
            if self._plain_exams and "exam_id" in names:
                text = "The exam's number has characters that cannot travel; use letters, digits, '.', '_' and '-'."
                raise refused("bad-exam", text) from None
            raise Misconfigured(f"these do not have the form the line expects: {', '.join(names)}") from None

    def _exam(self, frame: Frame, sidecar: Labels, named: Labels) -> str | None:
        if self._given.exam is not None:
            return self._given.exam
        if sidecar.exam is not None:
            return self._exam_number(sidecar.exam)
        if frame.exam_id is not None:
            return frame.exam_id
        return None if named.exam is None else self._exam_number(named.exam)

    def _exam_number(self, number: str) -> str:
        return number if self._plain_exams else self._key.exam(number, namespace=self._origin.site_id)

    def _subject(self, frame: Frame, sidecar: Labels, named: Labels, exam_id: str) -> str:
        number = self._given.subject or sidecar.subject
        if number is None and frame.subject_id is not None:
            return frame.subject_id
        number = number or named.subject
        if number is not None:
            return self._key.subject(number, namespace=self._origin.site_id)
        return self._key.subject(exam_id, namespace="exam")


def _believable(*times: dt.datetime | None) -> dt.datetime:
    """The first of these times that the line will take; now, when none is.

    A camera whose battery ran down begins again in 1970 or 1980, and an eye must not go unscreened for it.
    """
    said = (time for time in times if time is not None and EARLIEST_CAPTURE <= time < LATEST_CAPTURE)
    return next(said, records.utc(records.now()))


def image_id(exam_id: str, sha256: str, frame: int) -> str:
    """The picture's name: the same for the same bytes of the same exam, whoever sends them and however often."""
    # An exam of bytes that are no UTF-8 is named as well, and then refused for what it is.
    exam = exam_id.encode(errors="surrogateescape")
    return records.digest("picture", exam, sha256, str(frame))[:_IMAGE_ID_LENGTH]
