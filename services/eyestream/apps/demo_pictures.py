"""The pictures of the demonstration: exams drawn by `eyestream.testing`, and messages broken on purpose."""

from __future__ import annotations

import datetime as dt
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from eyestream.testing.badpictures import BadPicture, bad_pictures
from eyestream.testing.eyes import Eye, render, save_jpeg
from eyestream.testing.messages import meta_for

SIZE: Final = (1200, 1600)
"""Height and width of a drawn photograph, in pixels."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One exam of two eyes, a macula and a disc picture of each; `story` says what was drawn."""

    name: str
    story: str
    right: Eye
    left: Eye


def _eye(*findings: str, quality: str | None = None, severity: float = 0.8) -> Eye:
    return Eye(findings=frozenset(findings), quality=quality, severity=severity)


EXAMS: Final = (
    Drawn("exam-01", "both eyes healthy", _eye(), _eye()),
    Drawn("exam-02", "microaneurysms on the right", _eye("microaneurysms"), _eye()),
    Drawn("exam-03", "haemorrhages and exudates on the left", _eye(), _eye("haemorrhages", "exudates")),
    Drawn("exam-04", "large cups on both sides", _eye("large-cup"), _eye("large-cup")),
    Drawn("exam-05", "drusen on the right", _eye("drusen"), _eye()),
    Drawn("exam-06", "cataract on the left", _eye(), _eye("cataract")),
    Drawn("exam-07", "right eye out of focus", _eye(quality="blur"), _eye()),
    Drawn("exam-08", "left eye underexposed", _eye(), _eye(quality="dark")),
    Drawn("exam-09", "exudates on the right, left eye not an eye", _eye("exudates"), _eye(quality="not-an-eye")),
    Drawn("exam-10", "both eyes healthy", _eye(), _eye()),
    Drawn("exam-11", "haemorrhages on both sides", _eye("haemorrhages"), _eye("haemorrhages")),
    Drawn("exam-12", "right eye off-centre", _eye(quality="off-centre"), _eye()),
)


def draw(folder: Path, drawn: Drawn) -> Iterator[Path]:
    """Write one exam's four pictures as JPEG, named `exam_laterality_field`; the same exam draws the same files."""
    for side, described in (("R", drawn.right), ("L", drawn.left)):
        for field in ("macula", "disc"):
            eye = Eye(side, field, described.findings, described.quality, described.severity)
            path = folder / f"{drawn.name}_{side}_{field}.jpg"
            save_jpeg(render(eye, zlib.crc32(path.name.encode()), size=SIZE), path)
            yield path


def cut_short(folder: Path, whole: Path) -> Path:
    """A file that a camera did not finish writing; the device's own software refuses it."""
    path = folder / "exam-13_R_macula.jpg"
    path.write_bytes(whole.read_bytes()[:20_000])
    return path


def hostile(programme: str = "demo") -> list[BadPicture]:
    """Messages as a device without our software might send them, one for each reason to refuse a message."""
    file = io.BytesIO()
    Image.fromarray(render(Eye(), 7, size=(480, 640))).save(file, "JPEG", quality=92)
    value = file.getvalue()
    yet = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    meta = meta_for(value, exam_id="exam-14", programme=programme, captured_at=yet)
    reasons: dict[str, BadPicture] = {}
    for bad in bad_pictures(value, meta):
        reasons.setdefault(bad.expected_reason, bad)
    return list(reasons.values())
