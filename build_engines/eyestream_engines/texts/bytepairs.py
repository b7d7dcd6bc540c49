"""CLIP's tokenizer: words as bytes, merged pair by pair in the order in which training merged them."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from eyestream.errors import Misconfigured

MERGES: Final = 49152 - 256 - 2
"""How many lines of the file, after its heading, CLIP uses."""
_END_OF_WORD: Final = "</w>"
_SPACE: Final = re.compile(r"\s+")
_SHORT_FORMS: Final = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


class BytePairs:
    """Implements `Tokenizer`. `merges` are the file's lines after the heading, `left right`, earliest first.

    Raises Misconfigured for a line that is not a pair.
    """

    pad = 0

    def __init__(self, merges: Sequence[str]) -> None:
        pairs = [tuple(line.split()) for line in merges]
        if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004
            raise Misconfigured("this is not a list of byte pairs: a line does not hold two parts")
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        letters = list(_letters().values())
        tokens = [*letters, *(letter + _END_OF_WORD for letter in letters), *("".join(pair) for pair in pairs)]
        self._ids = {token: place for place, token in enumerate(tokens)}
        self.start, self.end = len(tokens), len(tokens) + 1
        self._word = lru_cache(maxsize=4096)(self._merged)

    @classmethod
    def of_file(cls, lines: Sequence[str]) -> BytePairs:
        """From all lines of the published file, the heading included; raises Misconfigured when they are too few."""
        if len(lines) <= MERGES:
            raise Misconfigured(f"this list of byte pairs has {len(lines)} lines; CLIP's has {MERGES} and a heading")
        return cls(lines[1 : MERGES + 1])

    def pieces(self, text: str) -> list[int]:
        """The ids of a text, without the start and the end; every text can be written in bytes."""
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        words = _words(_SPACE.sub(" ", text).strip().lower())
        return [token for word in words for token in self._word(word)]

    def _merged(self, word: str) -> tuple[int, ...]:
        alphabet = _letters()
        parts = [alphabet[byte] for byte in word.encode()]
        parts[-1] += _END_OF_WORD
        while len(parts) > 1:
            first = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if first not in self._ranks:
                break
            parts = _join(parts, first)
        return tuple(self._ids[part] for part in parts)


def _join(parts: Sequence[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    place = 0
    while place < len(parts):
        both = tuple(parts[place : place + 2]) == pair
        joined.append("".join(pair) if both else parts[place])
        place += 2 if both else 1
    return joined


def _words(text: str) -> Iterator[str]:
    """English short forms, runs of letters, single digits, and runs of anything else that is not space."""
    place = 0
    while place < len(text):
        length = next((len(form) for form in _SHORT_FORMS if text.startswith(form, place)), 0)
        kind = _kind(text[place])
        if not length:
            length = 1
            while kind in "L*" and place + length < len(text) and _kind(text[place + length]) == kind:
                length += 1
        if kind != " ":
            yield text[place : place + length]
        place += length


def _kind(character: str) -> str:
    """`L` a letter, `N` a number, a blank, or `*` anything else."""
    if character.isspace():
        return " "
    first = unicodedata.category(character)[0]
    return first if first in "LN" else "*"


@lru_cache(maxsize=1)
def _letters() -> dict[int, str]:
    """A printable letter for every byte, those that print already first; their order is that of the first ids."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
