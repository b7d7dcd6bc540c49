"""A published text side as the bank's builder wants it: texts to unit vectors, padded as the model's authors pad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from eyestream.errors import Misconfigured
from eyestream.records import Digest, Vectors, digest
from eyestream_engines.spec import Wording
from eyestream_engines.texts import vocabulary
from eyestream_engines.texts.bytepairs import BytePairs
from eyestream_engines.texts.tokens import Tokenizer, tokenise
from eyestream_engines.texts.wordpiece import WordPiece

_AT_ONCE: Final = 32


class TowerTextEncoder:
    """Implements `TextEncoder` with one tower of a model and its tokenizer.

    `lengths` says how many tokens each text is padded to; one it does not name is not padded at all. `weights` names
    the checkpoint; it, the wording and the lengths are the digest.
    """

    def __init__(
        self,
        tower: nn.Module,
        tokenizer: Tokenizer,
        wording: Wording,
        *,
        dim: int,
        weights: Digest,
        lengths: Mapping[str, int] | None = None,
    ) -> None:
        self._tower, self._tokenizer, self._wording = tower, tokenizer, wording
        self._dim, self._lengths = dim, dict(lengths or {})
        self._digest = digest("text tower", weights, wording.model_dump_json(), repr(sorted(self._lengths.items())))

    @property
    def digest(self) -> Digest:
        """Which weights, vocabulary and padding the vectors come from."""
        return self._digest

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._dim

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [n, dim]; ValueError for a text the tokenizer reads nothing of, or that is too long."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        for length, places in self._by_length(texts).items():
            for start in range(0, len(places), _AT_ONCE):
                part = places[start : start + _AT_ONCE]
                vectors[part] = self._encoded([texts[place] for place in part], length)
        return vectors

    def _by_length(self, texts: Sequence[str]) -> dict[int, list[int]]:
        """Texts of one padded length together: in a batch none is padded further than by itself."""
        found: dict[int, list[int]] = {}
        for place, text in enumerate(texts):
            own = tokenise(self._tokenizer, [text], context=self._wording.context).ids.shape[1]
            found.setdefault(max(own, self._lengths.get(text, 0)), []).append(place)
        return found

    def _encoded(self, texts: Sequence[str], length: int) -> Vectors:
        tokens = tokenise(self._tokenizer, texts, context=self._wording.context, length=length)
        with torch.inference_mode():
            found = self._tower(torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask))
        return np.asarray(found.float().numpy(), np.float32)


def tokenizer_of(wording: Wording, file: Path) -> Tokenizer:
    """The model's tokenizer from its vocabulary file; raises Misconfigured for any other file."""
    lines = vocabulary.lines(file, sha256=wording.vocabulary_sha256)
    if wording.tokenizer == "byte-pairs":
        return BytePairs.of_file(lines)
    return WordPiece(lines, lower=wording.lower)


def lengths_of(wording: Wording, tokenizer: Tokenizer, classes: Iterable[Sequence[str]]) -> dict[str, int]:
    """How far the model's authors pad each text of these classes.

    Raises Misconfigured for a text that the tower cannot read whole, and for one of two classes whose longest differ:
    it would need two vectors.
    """
    groups = [list(texts) for texts in classes]
    if wording.padding == "call":
        groups = [[text for texts in groups for text in texts]]
    found: dict[str, int] = {}
    for texts in groups:
        width = wording.context
        if wording.padding != "context":
            try:
                width = tokenise(tokenizer, texts, context=wording.context).ids.shape[1]
            except ValueError as error:
                raise Misconfigured(f"the text tower cannot read a phrase of the programme: {error}") from None
        for text in texts:
            if found.setdefault(text, width) != width:
                raise Misconfigured(
                    f"{text!r} is asked in two classes, which pad it to {found[text]} and {width} tokens, and this "
                    "model gives it another vector in each: say it otherwise in one of them"
                )
    return found
