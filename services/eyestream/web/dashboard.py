"""Routes: the dashboard's own files. It asks everything else of the API, as any other client would.

The pages hold no data, so anybody may have them. Nothing is fetched from elsewhere, and no text becomes markup.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from eyestream.web.models import etag
from eyestream.web.problems import Problem

router = APIRouter(include_in_schema=False)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE: Final = "index.html"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do: run and show its own files, ask this service, and make nothing executable of what it got."""

IfNoneMatch = Annotated[str | None, Header(max_length=1000)]


@router.get("/")
async def page(if_none_match: IfNoneMatch = None) -> Response:
    """The one page."""
    return _file(_PAGE, if_none_match)


@router.get("/assets/{name}")
async def asset(name: str, if_none_match: IfNoneMatch = None) -> Response:
    """One of its files."""
    if name == _PAGE or name not in _files():
        raise Problem(404, "not-found", "The dashboard has no such file.")
    return _file(name, if_none_match)


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, type and ETag of every file by its name: read once, so that no name ever reaches the file system."""
    found = {}
    for file in files("eyestream.web").joinpath("static").iterdir():
        suffix = file.name[file.name.rfind(".") :]
        if suffix in _TYPES:
            value = file.read_bytes()
            found[file.name] = value, _TYPES[suffix], etag(hashlib.sha256(value).hexdigest()[:32])
    return found


def _file(name: str, if_none_match: str | None) -> Response:
    value, content_type, tag = _files()[name]
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    if if_none_match is not None and tag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(value, headers=headers, media_type=content_type)
