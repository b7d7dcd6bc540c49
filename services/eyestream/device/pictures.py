"""A file's bytes -> the pictures in it, ready to send: told by content, stripped of stories, proven to be readable.

Nothing here knows where a file lies or what it is called.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from eyestream.device import dicom, exif, jpeg, png, tiff
from eyestream.device.frames import Frame, check_size, quiet_parsers, refused
from eyestream.device.pseudonym import SiteKey
from eyestream.errors import Rejected

_PILLOW: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/tiff": "TIFF"}
_GLIMPSE: Final = (512, 512)


def read(data: bytes, key: SiteKey, *, namespace: str) -> list[Frame]:
    """Every picture of the file, in order; at least one.

    Pixels are never encoded anew. Each JPEG, PNG and TIFF was decoded once, in full where the format allows no less,
    so that a damaged picture is found while the patient still sits there. Raises Rejected, at stage `device`, with a
    text that holds nothing of the file's; the file is then not sent, not even in part.
    """
    frames = list(_frames(data, key, namespace))
    if not frames:
        raise refused("no-pixels", "The file holds no picture; export it again.")
    if sum(len(frame.data) for frame in frames) > 2 * len(data) + 65536 * len(frames):
        raise refused("broken-tiff", "The file's pages lie on top of each other; export it again.")
    for frame in frames:
        _prove_readable(frame)
    return frames


def _frames(data: bytes, key: SiteKey, namespace: str) -> Iterator[Frame]:
    if data.startswith(b"\xff\xd8\xff"):
        stream = jpeg.strip(data)
        check_size(stream.width, stream.height)
        orientation, captured_at = exif.read(stream.exif or b"")
        yield Frame(data=stream.data, content_type="image/jpeg", orientation=orientation, captured_at=captured_at)
    elif data.startswith(png.SIGNATURE):
        file = png.strip(data)
        check_size(file.width, file.height)
        orientation, captured_at = exif.read(file.exif or b"")
        yield Frame(data=file.data, content_type="image/png", orientation=orientation, captured_at=captured_at)
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _, captured_at = exif.read(data)
        for index, page in enumerate(tiff.pages(data)):
            check_size(page.width, page.height)
            yield Frame(
                data=page.data,
                content_type="image/tiff",
                index=index,
                orientation=page.orientation,
                captured_at=captured_at,
            )
    elif dicom.is_dicom(data):
        yield from dicom.frames(data, key, namespace=namespace)
    else:
        raise refused("not-a-picture", _unknown(data))


def _unknown(data: bytes) -> str:
    what = "is empty" if not data else "is no JPEG, PNG, TIFF or DICOM file, whatever its name says"
    return f"The file {what}; export the picture in one of these formats."


def _prove_readable(frame: Frame) -> None:
    """Decode the picture once, a JPEG at an eighth of its size. A TIFF Pillow does not know is the line's to judge."""
    from PIL import Image, UnidentifiedImageError

    form = _PILLOW.get(frame.content_type)
    if form is None:
        return
    with quiet_parsers():
        try:
            with Image.open(io.BytesIO(frame.data), formats=[form]) as image:
                image.draft(None, _GLIMPSE)
                image.load()
        except UnidentifiedImageError:
            if form == "TIFF":
                return
            raise _damaged() from None
        except Exception:  # noqa: BLE001 - Pillow meets damaged pictures with almost any exception
            raise _damaged() from None


def _damaged() -> Rejected:
    return refused("damaged", "The picture cannot be decoded; copy or export it again, or take it anew.")
