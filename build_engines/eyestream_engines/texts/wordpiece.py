"""BERT's tokenizer: words, marks and single CJK characters, then the longest pieces that the vocabulary has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from eyestream.errors import Misconfigured

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD: Final = 100
_CJK: Final = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_ASCII_MARKS: Final = ((33, 47), (58, 64), (91, 96), (123, 126))


class WordPiece:
    """Implements `Tokenizer`. `lower` takes case and accents off before looking words up.

    Raises Misconfigured when the vocabulary lacks one of BERT's own four tokens.
    """

    def __init__(self, vocabulary: Sequence[str], *, lower: bool) -> None:
        self._ids = {token: place for place, token in enumerate(vocabulary)}
        self._lower = lower
        missing = [token for token in (PAD, UNKNOWN, START, END) if token not in self._ids]
        if missing:
            raise Misconfigured(f"this is not a vocabulary of BERT's: it lacks {', '.join(missing)}")
        self.pad, self.start, self.end = self._ids[PAD], self._ids[START], self._ids[END]

    def pieces(self, text: str) -> list[int]:
        """The ids of a text, without the start and the end; a word that cannot be pieced together is one unknown."""
        return [token for word in self._words(text) for token in self._split(word)]

    def _words(self, text: str) -> Iterator[str]:
        for word in "".join(_spaced(text)).split():
            yield from _at_marks(_plain(word) if self._lower else word)

    def _split(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                break
            found.append(self._ids[prefix + word[start:end]])
            start = end
        return found if start == len(word) else [self._ids[UNKNOWN]]


def _spaced(text: str) -> Iterator[str]:
    """The text's characters, with controls dropped, every kind of space a blank, and CJK characters apart."""
    for character in text:
        if character in " \t\n\r" or unicodedata.category(character) == "Zs":
            yield " "
        elif character == "\ufffd" or unicodedata.category(character).startswith("C"):
            continue
        elif any(first <= ord(character) <= last for first, last in _CJK):
            yield f" {character} "
        else:
            yield character


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")


def _at_marks(word: str) -> Iterator[str]:
    run = ""
    for character in word:
        if _is_mark(character):
            yield from (part for part in (run, character) if part)
            run = ""
        else:
            run += character
    if run:
        yield run


def _is_mark(character: str) -> bool:
    """Punctuation; of ASCII also what Unicode calls symbols, such as `$` and `^`."""
    if any(first <= ord(character) <= last for first, last in _ASCII_MARKS):
        return True
    return unicodedata.category(character).startswith("P")
