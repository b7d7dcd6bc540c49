"""A text tower that ONNX Runtime runs: a folder with `text.onnx` and `vocabulary.json`. Knows no picture.

A word is read as itself, where the vocabulary has it, and as the hashed runs of its letters, so that a word never seen
still lies near those spelt like it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eyestream.errors import Misconfigured
from eyestream.records import Digest, Vectors, digest

GRAPH, VOCABULARY = "text.onnx", "vocabulary.json"
INPUT: Final = "features"
SHORT: Final = 3
"""Letters of the longest word that is not spelt out when the vocabulary has it."""
_WORD: Final = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How a text becomes numbers: known `words`, then `buckets` for runs of `shortest` to `longest` letters.

    A text has at most `max_words` words, a word at most `max_features` features. Feature 0 is none.
    """

    words: tuple[str, ...]
    buckets: int
    shortest: int
    longest: int
    max_words: int
    max_features: int

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary in a file; raises Misconfigured when it is missing or not one."""
        try:
            fields = json.loads(path.read_text("utf-8"))
            return cls(**(fields | {"words": tuple(fields["words"])}))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Misconfigured(f"{path} is not a vocabulary: {error!r}") from None

    @property
    def rows(self) -> int:
        """How many features there are, none included."""
        return 1 + len(self.words) + self.buckets

    def split(self, text: str) -> list[str]:
        """The words of a text: lower case, accents off, punctuation gone.

        Raises ValueError for a text without words or with more than `max_words`.
        """
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        words = _WORD.findall(plain)
        if not words:
            raise ValueError(f"{text!r} holds no word this text tower can read: write it in Latin letters")
        if len(words) > self.max_words:
            raise ValueError(f"{text!r} has {len(words)} words, the text tower reads {self.max_words}: shorten it")
        return words

    def features(self, word: str, *, known: bool = True) -> list[int]:
        """The features of one word; without its own entry when `known` is false.

        A short word of the vocabulary is its entry alone: the letters of `no` must not make a denial of `noted`.
        """
        place = _index(self.words).get(word)
        if place is not None and len(word) <= SHORT:
            return [1 + place]
        found = [1 + place] if known and place is not None else []
        first = 1 + len(self.words)
        found += [first + run % self.buckets for run in _runs(word, self.shortest, self.longest)]
        return found[: self.max_features]

    def table(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Features [texts, words, features] of all texts, filled up with 0."""
        read = [[self.features(word) for word in self.split(text)] for text in texts]
        return fill(read)


def fill(read: Sequence[Sequence[Sequence[int]]]) -> npt.NDArray[np.int64]:
    """Ragged features of texts' words as one array, filled up with 0."""
    words = max(len(text) for text in read)
    width = max(len(word) for text in read for word in text)
    out = np.zeros((len(read), words, width), np.int64)
    for row, text in enumerate(read):
        for column, word in enumerate(text):
            out[row, column, : len(word)] = word
    return out


@cache
def _index(words: tuple[str, ...]) -> dict[str, int]:
    return {word: place for place, word in enumerate(words)}


@cache
def _runs(word: str, shortest: int, longest: int) -> tuple[int, ...]:
    """The hashed runs of a word's letters; `<` and `>` mark its ends."""
    framed = f"<{word}>"
    return tuple(
        _hash(framed[start : start + length])
        for length in range(shortest, longest + 1)
        for start in range(len(framed) - length + 1)
    )


def _hash(letters: str) -> int:
    """FNV-1a, 32 bits: the same everywhere, unlike Python's own."""
    state = 0x811C9DC5
    for byte in letters.encode():
        state = ((state ^ byte) * 0x01000193) & 0xFFFFFFFF
    return state


class OnnxTextEncoder:
    """Implements `TextEncoder` from the folder of an exported text tower.

    Each text is run by itself: its vector cannot depend on its neighbours. Raises Misconfigured when the folder does
    not hold a text tower.
    """

    def __init__(self, folder: Path) -> None:
        self._vocabulary = Vocabulary.read(folder / VOCABULARY)
        self._session = _open(folder / GRAPH)
        self._dim = int(self._session.get_outputs()[0].shape[1])
        self._digest = digest(*((folder / name).read_bytes() for name in (GRAPH, VOCABULARY)))

    @property
    def digest(self) -> Digest:
        """sha256 over the graph and the vocabulary."""
        return self._digest

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [n, dim]; a text without words, or longer than the tower reads, is a ValueError."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._session.run(None, {INPUT: self._vocabulary.table([text])})[0][0]
        return vectors


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the library raises classes of its own, one for each kind of bad file
        raise Misconfigured(f"{path} cannot be opened: {error}") from None
