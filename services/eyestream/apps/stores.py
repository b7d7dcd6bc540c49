"""Object stores that are named to a program, tried before it begins: else the first large picture would end it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from eyestream import objects
from eyestream.errors import Misconfigured

_ANY: Final = "0" * 64
_OURS: Final = "file://"


def require(stores: Iterable[str], *, named: str) -> None:
    """Raises Misconfigured, naming the option or setting, for a store that no picture could be kept in or read from.

    Looks at the address and at the package that speaks to such a store; asks no store.
    """
    from fsspec import get_filesystem_class

    for store in stores:
        try:
            url = objects.reference(store, _ANY)
        except Misconfigured as error:
            raise Misconfigured(f"{named} {store!r}: {error}") from None
        scheme = url.partition("://")[0]
        if url.startswith(_OURS):
            continue
        try:
            get_filesystem_class(scheme)
        except ImportError as error:
            raise Misconfigured(
                f"{named} {store!r}: {scheme}:// needs fsspec's package for it (s3fs, gcsfs, adlfs): {error}"
            ) from None
