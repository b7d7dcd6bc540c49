"""DICOM's outer shell: the few top-level elements that make pixels, found without building anything else.

Names, dates and sequences are stepped over, never parsed into objects: a file cannot make this module allocate, and
patient data cannot leave it.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from eyestream.decoding.refusals import refuse

TRANSFER_SYNTAX: Final = 0x00020010
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS = 0x00280010, 0x00280011
BITS_ALLOCATED, BITS_STORED, SIGNED = 0x00280100, 0x00280101, 0x00280103
PIXELS: Final = 0x7FE00010
_WANTED: Final = frozenset(
    {TRANSFER_SYNTAX, SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS, BITS_ALLOCATED, BITS_STORED, SIGNED}
)

IMPLICIT: Final = "1.2.840.10008.1.2"
_NOT_READ: Final = {
    "1.2.840.10008.1.2.1.99": "deflate over the whole file",
    "1.2.840.10008.1.2.2": "big-endian byte order",
}
_LONG: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_MOST_ELEMENTS: Final = 500_000
_DEEPEST: Final = 64
_LONGEST_VALUE: Final = 64


class _Element(NamedTuple):
    tag: int
    length: int
    body_at: int


class Shell(NamedTuple):
    """The wanted elements' raw values, the transfer syntax, and where the pixel data lie.

    `encapsulated` data are fragments (`fragments` reads them); else `pixels_at` and `pixels_length` say all.
    """

    syntax: str
    values: dict[int, bytes]
    pixels_at: int
    pixels_length: int
    encapsulated: bool

    def number(self, tag: int, default: int | None = None) -> int:
        """An unsigned short; Rejected when it is neither there nor has a default."""
        raw = self.values.get(tag, b"")
        if len(raw) != 2:
            if default is None or raw:
                raise refuse("damaged")
            return default
        return int.from_bytes(raw, "little")

    def text(self, tag: int) -> str:
        """A short ASCII value without its padding."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \x00")


def read_shell(value: bytes) -> Shell:
    """Walk the top level up to the pixel data. Raises Rejected; takes time and memory bounded by the file's length."""
    values: dict[int, bytes] = {}
    at, syntax, explicit = 132, "", True
    for _ in range(_MOST_ELEMENTS):
        if at == len(value):
            raise refuse("no-picture-in-dicom")
        if not syntax and value[at : at + 2] != b"\x02\x00":
            syntax = values.get(TRANSFER_SYNTAX, b"").decode("ascii", "replace").strip(" \x00")
            if syntax in _NOT_READ:
                raise refuse("unsupported-dicom", feature=_NOT_READ[syntax])
            if not syntax:
                raise refuse("damaged")
            explicit = syntax != IMPLICIT
        element = _element(value, at, explicit)
        if element.tag == PIXELS:
            return _shell(value, syntax, values, element)
        if element.length == _UNDEFINED:
            at = _after_sequence(value, element.body_at, explicit and value[at + 4 : at + 6] != b"UN")
            continue
        at = element.body_at + element.length
        if at > len(value):
            raise refuse("truncated")
        if element.tag in _WANTED and element.length <= _LONGEST_VALUE:
            values[element.tag] = value[element.body_at : at]
    raise refuse("damaged")


def fragments(value: bytes, at: int) -> list[bytes]:
    """The encapsulated fragments that start at `at`, the offset table left out. Rejected when they break off."""
    found: list[bytes] = []
    while True:
        tag, length = _item(value, at)
        if tag == _SEQUENCE_END:
            return found[1:]
        if tag != _ITEM or length == _UNDEFINED or len(found) > _MOST_ELEMENTS:
            raise refuse("damaged")
        if at + 8 + length > len(value):
            raise refuse("truncated")
        found.append(value[at + 8 : at + 8 + length])
        at += 8 + length


def _shell(value: bytes, syntax: str, values: dict[int, bytes], element: _Element) -> Shell:
    encapsulated = element.length == _UNDEFINED
    if not encapsulated and element.body_at + element.length > len(value):
        raise refuse("truncated")
    return Shell(syntax, values, element.body_at, element.length, encapsulated)


def _element(value: bytes, at: int, explicit: bool) -> _Element:
    if at + 8 > len(value):
        raise refuse("truncated")
    group, element = struct.unpack_from("<HH", value, at)
    tag = group << 16 | element
    if not explicit:
        return _Element(tag, int.from_bytes(value[at + 4 : at + 8], "little"), at + 8)
    representation = value[at + 4 : at + 6]
    if not representation.isalpha():
        raise refuse("damaged")
    if representation in _LONG:
        if at + 12 > len(value):
            raise refuse("truncated")
        return _Element(tag, int.from_bytes(value[at + 8 : at + 12], "little"), at + 12)
    return _Element(tag, int.from_bytes(value[at + 6 : at + 8], "little"), at + 8)


def _item(value: bytes, at: int) -> tuple[int, int]:
    if at + 8 > len(value):
        raise refuse("truncated")
    group, element, length = struct.unpack_from("<HHI", value, at)
    return group << 16 | element, length


def _after_sequence(value: bytes, at: int, explicit: bool) -> int:
    """Where the sequence of undefined length that starts at `at` ends; walks nested ones without recursion."""
    inside = [(_SEQUENCE_END, explicit)]
    for _ in range(_MOST_ELEMENTS):
        end, explicit = inside[-1]
        tag, length = _item(value, at)
        if tag == end:
            inside.pop()
            at += 8
            if not inside:
                return at
            continue
        if end == _SEQUENCE_END:
            if tag != _ITEM:
                raise refuse("damaged")
            at += 8
            opens = (_ITEM_END, explicit)
        else:
            element = _element(value, at, explicit)
            opens = (_SEQUENCE_END, explicit and value[at + 4 : at + 6] != b"UN")
            at, length = element.body_at, element.length
        if length == _UNDEFINED:
            inside.append(opens)
        else:
            at += length
        if at > len(value):
            raise refuse("truncated")
        if len(inside) > _DEEPEST:
            raise refuse("damaged")
    raise refuse("damaged")
