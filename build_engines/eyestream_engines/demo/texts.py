"""What training says of its eyes: texts of every phrasing, and which eyes they are true of. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from eyestream.banks.onnx import Vocabulary, fill
from eyestream.testing.eyes import Eye
from eyestream.testing.eyes.captions import phrasings
from eyestream.testing.eyes.claims import CLAIMS, SIDES, Claim, holds

Truth = npt.NDArray[np.int8]
"""1 true, 0 false, -1 cannot be said."""

JOINED: Final = 0.12
"""Share of texts that state two claims at once."""
FORGOTTEN: Final = 0.15
"""Share of words whose own entry is hidden, so that their letters learn to stand for them."""
BABBLED: Final = 0.25
"""How often a made-up word is put before or behind a text, so that a word never seen is passed over."""
LINKS: Final = (" and ", ", ", " with ", "; ")
WEIGHTS: Final = {"finding": 3.0, "no-finding": 1.5, "fault": 2.0, "healthy": 5.0, "diabetic": 3.0, "gradable": 3.0}


@dataclass(frozen=True, slots=True)
class Text:
    """One text and the claims, by their place in CLAIMS, that all must hold for it to be true."""

    words: str
    claims: tuple[int, ...]


def truth(eyes: Sequence[Eye]) -> Truth:
    """[claims, eyes]: which claims hold of which eyes."""
    said = [[holds(claim, eye) for eye in eyes] for claim in CLAIMS]
    return np.array([[-1 if value is None else int(value) for value in row] for row in said], np.int8)


def mirrored(eyes: Sequence[Eye]) -> list[Eye]:
    """The eyes as pictures that were flipped left to right show them."""
    other = dict(zip(SIDES, reversed(SIDES), strict=True))
    return [replace(eye, laterality=other[eye.laterality]) for eye in eyes]


def draw(rng: np.random.Generator, count: int) -> list[Text]:
    """`count` texts, one or two claims each."""
    weights = np.array([WEIGHTS.get(claim.kind, 1.5) for claim in CLAIMS])
    weights /= weights.sum()
    texts = []
    for first in rng.choice(len(CLAIMS), size=count, p=weights):
        claims: tuple[int, ...] = (int(first),)
        words = _say(rng, CLAIMS[first])
        if rng.random() < JOINED:
            second = int(rng.choice(len(CLAIMS), p=weights))
            claims, words = (int(first), second), words + str(rng.choice(LINKS)) + _say(rng, CLAIMS[second])
        texts.append(Text(words, claims))
    return texts


def _say(rng: np.random.Generator, claim: Claim) -> str:
    said = phrasings(claim)
    return said[int(rng.integers(len(said)))]


def judge(texts: Sequence[Text], known: Truth) -> Truth:
    """[eyes, texts]: a text is false when one of its claims is, open when one cannot be said, else true."""
    columns = []
    for text in texts:
        rows = known[list(text.claims)]
        columns.append(np.where((rows == 0).any(0), 0, rows.min(0)))
    return np.stack(columns, axis=1).astype(np.int8)


def vocabulary() -> Vocabulary:
    """Every word of every phrasing, and room for those that are in none."""
    empty = Vocabulary((), buckets=2048, shortest=3, longest=5, max_words=40, max_features=40)
    words = {word for claim in CLAIMS for phrase in phrasings(claim) for word in empty.split(phrase)}
    return replace(empty, words=tuple(sorted(words)))


def table(rng: np.random.Generator, vocab: Vocabulary, texts: Sequence[Text]) -> npt.NDArray[np.int64]:
    """Features of the texts for training: some words forget their own entry, some stand beside words that are none."""
    heard = []
    for text in texts:
        words = vocab.split(text.words)
        while rng.random() < BABBLED:
            words.insert(0 if rng.random() < 1 / 2 else len(words), _babble(rng))
        heard.append([vocab.features(word, known=rng.random() >= FORGOTTEN) for word in words[: vocab.max_words]])
    return fill(heard)


def _babble(rng: np.random.Generator) -> str:
    """A word that means nothing."""
    return "".join(chr(97 + int(letter)) for letter in rng.integers(26, size=int(rng.integers(3, 11))))
