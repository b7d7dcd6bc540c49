"""Parity cases: a published checkpoint's keys, filled from a seed, and what the original computes with them.

A case is a folder: `keys.json` names every key with its shape and dtype, `expected_seed<N>.npz` holds the original's
answers for seed N. Knows no architecture; the folder's name is the case's.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from eyestream.errors import Misconfigured
from eyestream_engines.spec import SHELF, EncoderFile, names

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[Any]

PARITY: Final = SHELF / "parity"
NO_ENCODERS: Final = {
    "visionunite_llm": "a language model gives words and no embedding (docs/decisions/0014-what-is-an-encoder.md)",
}
"""Cases that nothing here is built for, and why."""
_TOKENS: Final = ("pos_embed", "cls_token", "mask_token", "reg_token", "register_tokens", "embedding")
"""Whatever has one of these in its name is small, as trained tables of tokens and positions are."""
_SMALL: Final = 0.02
_TEMPERATURE: Final = math.log(1 / 0.07)
_PICTURES: Final = 7
_TEXTS: Final = 8


@dataclass(frozen=True)
class Case:
    """One folder at one seed; `facts` is the whole of keys.json."""

    folder: Path
    seed: int
    facts: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: Path, *, seed: int = 0) -> Case:
        """Read a case's keys; raises Misconfigured when it is not a case."""
        try:
            facts = json.loads((folder / "keys.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise Misconfigured(f"{folder} is not a parity case: keys.json: {error}") from None
        if not isinstance(facts, dict):
            raise Misconfigured(f"{folder} is not a parity case: keys.json holds a {type(facts).__name__}")
        return cls(folder.resolve(), seed, facts)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def encoders(self) -> list[EncoderFile]:
        """The encoders whose TOML names this case; for a network made small, the one in the case's own folder."""
        own = PARITY / self.name / "encoder.toml"
        small = [EncoderFile.read(own)] if own.exists() else []
        return small + [encoder for encoder in map(EncoderFile.load, names()) if encoder.parity == self.name]

    def draw(self, stream: int) -> np.random.Generator:
        """The generator of one of the case's inputs."""
        return np.random.default_rng([self.seed, stream])

    def pictures(self) -> npt.NDArray[np.float32]:
        """The normalised pictures [n, 3, height, width] that the original was given."""
        drawn = self.draw(_PICTURES).standard_normal(self.facts["input"]["shape"])
        return np.asarray(drawn, np.float32)

    def inputs(self) -> dict[str, npt.NDArray[np.float32]]:
        """The inputs of a case that has several, by name; each has a generator of its own."""
        shapes = self.facts["input"]["shapes"].items()
        return {
            name: self.draw(_PICTURES + place).standard_normal(shape).astype(np.float32)
            for place, (name, shape) in enumerate(shapes)
        }

    def texts(
        self, *, start: int, end: int, step: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
        """Ids [n, length] and mask, first of full length, then text i cut `step` * i tokens shorter and padded."""
        rows, length = self.facts["text"]["shape"]
        ids = self.draw(_TEXTS).integers(5, self._vocabulary(), (rows, length))
        ids[:, 0], ids[:, -1] = start, end
        yield ids, np.ones_like(ids, dtype=np.bool_)
        padded = ids.copy()
        for row in range(rows):
            last = length - step * row - 1
            padded[row, last], padded[row, last + 1 :] = end, 0
        yield padded, padded != 0

    def _vocabulary(self) -> int:
        """The largest id that was drawn, and one: only the rule, in words, tells it."""
        found = re.search(r"integers\(5, (\d+),", self.facts["text"]["rule"])
        if found is None:
            raise Misconfigured(f"{self.folder}/keys.json does not say which tokens its texts were drawn from")
        return int(found[1])

    def tensors(self, names_and_shapes: str = "keys") -> dict[str, Tensor]:
        """Every key of that table, filled; raises Misconfigured when there is no such table."""
        import torch

        try:
            table = self.facts[names_and_shapes]
        except KeyError:
            raise Misconfigured(f"{self.folder}/keys.json holds no {names_and_shapes}") from None
        try:
            return {key: torch.from_numpy(fill(key, shape, dtype, self.seed)) for key, (shape, dtype) in table.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise Misconfigured(f"{self.folder}/keys.json: {names_and_shapes}: {error}") from None

    def file(self) -> dict[str, Any]:
        """What the published file holds: the tensors, inside the outer dict where there is one."""
        wrapper = self.facts.get("wrapper")
        if not wrapper:
            return dict(self.tensors())
        beside = self.facts.get("classifier_wrapper")
        return {wrapper: self.tensors()} | ({beside: self.tensors("classifier_keys")} if beside else {})

    def expected(self) -> dict[str, npt.NDArray[np.float32]]:
        """The original's answers at this seed; raises Misconfigured when nobody stored them."""
        path = self.folder / f"expected_seed{self.seed}.npz"
        try:
            with np.load(path) as stored:
                return {name: stored[name] for name in stored.files}
        except FileNotFoundError:
            raise Misconfigured(f"{path} does not exist: the original's numbers for seed {self.seed}") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise Misconfigured(f"{path} cannot be read ({error}): fetch the case again") from None


def shipped() -> Iterator[Case]:
    """The cases of this repository at seed 0."""
    return (Case.open(path.parent) for path in sorted(PARITY.glob("*/keys.json")))


def fill(key: str, shape: Sequence[int], dtype: str, seed: int) -> Array:
    """The numbers of one key: they depend on its name, its shape and the seed, and on no other key."""
    leaf = key.rsplit(".", maxsplit=1)[-1]
    if not np.issubdtype(np.dtype(dtype), np.floating):
        counts = "position_ids" in leaf and len(shape) > 0
        return np.array(np.broadcast_to(np.arange(shape[-1]) if counts else 0, shape), dtype)
    if len(shape) == 0:
        return np.array(_TEMPERATURE, dtype)
    normal = np.random.default_rng([seed, zlib.crc32(key.encode())]).standard_normal(shape, dtype=np.float32)
    return _scale(key, leaf, shape)(normal).astype(np.float32).astype(dtype)


def _scale(key: str, leaf: str, shape: Sequence[int]) -> Callable[[Array], Array]:
    if leaf == "running_var":
        return lambda normal: np.abs(0.1 * normal) + 1
    if len(shape) == 1 and (leaf == "weight" or "gamma" in leaf):
        return lambda normal: 1 + 0.1 * normal
    if len(shape) == 1 or any(token in key for token in _TOKENS):
        return lambda normal: _SMALL * normal
    return lambda normal: normal / math.sqrt(math.prod(shape[1:]))
