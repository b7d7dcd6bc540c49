"""Pictures where they are kept: in Kafka at the position of their result, or in an object store. Copies none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from eyestream import objects
from eyestream.brokers.lookup import Lookup
from eyestream.decoding.kinds import Kind, kind_of
from eyestream.errors import Rejected
from eyestream.records import HEADER_REF, Screening
from eyestream.web.services import File

_TYPES: Final[dict[Kind, tuple[str, str]]] = {
    "jpeg": ("image/jpeg", "jpg"),
    "png": ("image/png", "png"),
    "tiff": ("image/tiff", "tif"),
    "dicom": ("application/dicom", "dcm"),
}


class LinePictures:
    """The `Pictures` of a line: its Kafka topic, and the object stores that its messages may refer to.

    One thread asks Kafka, one after another. What a device says of a file's type is not believed: a browser would act
    on it.
    """

    def __init__(self, lookup: Lookup, *, stores: Sequence[str], max_bytes: int) -> None:
        self._lookup = lookup
        self._stores = tuple(stores)
        self._max_bytes = max_bytes
        self._kafka = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    async def file(self, screening: Screening) -> File | None:
        """See `Pictures.file`."""
        loop = asyncio.get_running_loop()
        message = await loop.run_in_executor(self._kafka, self._lookup.message, screening.position)
        reference = None if message is None else message.headers.get(HEADER_REF)
        value = None if message is None or reference is not None else message.value
        return await asyncio.to_thread(self._checked, value, reference, screening.meta.sha256)

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        await asyncio.get_running_loop().run_in_executor(self._kafka, self._lookup.close)

    def _checked(self, value: bytes | None, reference: bytes | None, sha256: str) -> File | None:
        if value is None or hashlib.sha256(value).hexdigest() != sha256:
            # Another record lies there now, as when a topic was made anew; or the picture travelled by reference.
            value = self._from_store(reference, sha256)
        return None if value is None else _file(value)

    def _from_store(self, reference: bytes | None, sha256: str) -> bytes | None:
        """By its reference, or by the name that it has in every store that devices put pictures into."""
        names = [reference.decode("utf-8", "replace")] if reference is not None else []
        names += [objects.reference(store, sha256) for store in self._stores]
        for name in dict.fromkeys(names):
            try:
                return objects.fetch(name, sha256=sha256, max_bytes=self._max_bytes, allowed=self._stores)
            except Rejected:
                continue
        return None


def _file(value: bytes) -> File:
    try:
        content_type, suffix = _TYPES[kind_of(value)]
    except Rejected:
        content_type, suffix = "application/octet-stream", "bin"
    return File(value, content_type, suffix)
