"""Bytes -> pixels of the encoder's input size, and everything that can be wrong with a picture or its headers.

Knows no broker and no encoder. `decode` and `read_meta` raise Rejected and nothing else, whatever they are given;
`eyestream.decoding.refusals` lists every reason with its sentence.
"""

from __future__ import annotations

from eyestream.decoding.limits import Limits
from eyestream.decoding.meta import read_content_type, read_meta, verify_sha256
from eyestream.decoding.picture import decode
from eyestream.decoding.preprocessing import Preprocessing

__all__ = ["Limits", "Preprocessing", "decode", "read_content_type", "read_meta", "verify_sha256"]
