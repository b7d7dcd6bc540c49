"""The ScoreHead: everything that turns one encoder's embeddings into findings, as one file. It knows no encoder.

The file is safetensors: float32 arrays, and one JSON document with the phrases, conditions, calibration and
provenance. It is named by the sha256 of its bytes, and the same head always has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from eyestream.banks import files
from eyestream.errors import Misconfigured
from eyestream.records import Digest, Vectors
from eyestream.scoring import Adapter, Cache, Judge, Row, View, ViewName

SUFFIX: Final = ".safetensors"
_SETS_OF_VIEWS: Final = ({"any"}, {"patient"}, {"patient", "left", "right"})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a head comes from. `encoder` is the checkpoint's sha256; empty where a field means nothing to the head.

    `kind` is how it was built (`text`, `prototypes`, `probe`, `adapter`); `padding` the text tower's policy, because
    some towers give a phrase another vector in longer company.
    """

    encoder: Digest
    preprocessing: Digest
    kind: str
    programme: str = ""
    text_tower: str = ""
    tokenizer: str = ""
    padding: str = ""
    templates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHead:
    """A complete head. Raises Misconfigured when its parts do not fit together or an array is not finite float32.

    `digest` is the sha256 of its file, also before it is saved.
    """

    views: tuple[View, ...]
    rows: tuple[Row, ...]
    judges: tuple[Judge, ...]
    provenance: Provenance
    digest: Digest = field(init=False)

    def __post_init__(self) -> None:
        for fault in _faults(self):
            raise Misconfigured(f"this head cannot be: {fault}")
        object.__setattr__(self, "digest", _sha256(self.to_bytes()))

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return _dim(self.views[0])

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        tensors: dict[str, Vectors] = {}
        for view in self.views:
            tensors |= {f"{view.name}.{name}": array for name, array in _arrays(view)}
        numbers = [_Numbers.of(view) for view in self.views]
        document = _Document(1, tuple(numbers), self.rows, self.judges, self.provenance)
        return files.pack(tensors, json.dumps(asdict(document), sort_keys=True, ensure_ascii=False))

    def save(self, folder: Path) -> Path:
        """Write `<digest>.safetensors` into the folder, whole or not at all; saving it again changes nothing."""
        path = folder / f"{self.digest}{SUFFIX}"
        if not path.exists():
            files.write(path, self.to_bytes())
        return path

    @classmethod
    def load(cls, path: Path, *, expected: Digest | None = None) -> ScoreHead:
        """The head in a file, checked against `expected` or, when that is None and it is one, the digest in its name.

        Raises Misconfigured when the file is missing, altered or no head.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Misconfigured(f"the head {path} cannot be read: {error.strerror}") from None
        actual = _sha256(content)
        named = path.name.removesuffix(SUFFIX)
        wanted = expected or (named if len(named) == len(actual) else actual)
        if actual != wanted:
            raise Misconfigured(f"{path} was altered: its sha256 is {actual}, not {wanted}; publish the bank again")
        try:
            tensors, metadata = files.unpack(content)
            document = _DOCUMENT.validate_json(metadata)
            views = tuple(_view(numbers, tensors) for numbers in document.views)
        except (ValueError, KeyError, ValidationError) as error:
            raise Misconfigured(f"{path} is not a ScoreHead of this version: {error}") from None
        head = cls(views, document.rows, document.judges, document.provenance)
        # A later version may write the same head in other bytes; the file that was published keeps its name.
        object.__setattr__(head, "digest", actual)
        return head


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The part of a view that is not an array."""

    name: ViewName
    scale: float
    l2: bool
    ratio: float | None = None
    alpha: float | None = None
    beta: float | None = None

    @classmethod
    def of(cls, view: View) -> _Numbers:
        return cls(
            name=view.name,
            scale=float(view.scale),
            l2=view.l2,
            ratio=None if view.adapter is None else float(view.adapter.ratio),
            alpha=None if view.cache is None else float(view.cache.alpha),
            beta=None if view.cache is None else float(view.cache.beta),
        )


@dataclass(frozen=True, slots=True)
class _Document:
    schema: Literal[1]
    views: tuple[_Numbers, ...]
    rows: tuple[Row, ...]
    judges: tuple[Judge, ...]
    provenance: Provenance


_DOCUMENT: Final = TypeAdapter(_Document)


def _sha256(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def _dim(view: View) -> int:
    return int((view.prototypes if view.projection is None else view.projection).shape[-1])


def _arrays(view: View) -> Iterator[tuple[str, Vectors]]:
    yield "prototypes", view.prototypes
    yield "bias", view.bias
    yield "pooling", view.pooling
    if view.projection is not None:
        yield "projection", view.projection
    if view.adapter is not None:
        yield from (("adapter.down", view.adapter.down), ("adapter.up", view.adapter.up))
    if view.cache is not None:
        yield from (("cache.keys", view.cache.keys), ("cache.values", view.cache.values))


def _view(numbers: _Numbers, tensors: dict[str, Vectors]) -> View:
    def of(name: str) -> Vectors:
        return tensors[f"{numbers.name}.{name}"]

    adapter = cache = None
    if numbers.ratio is not None:
        adapter = Adapter(of("adapter.down"), of("adapter.up"), numbers.ratio)
    if numbers.alpha is not None and numbers.beta is not None:
        cache = Cache(of("cache.keys"), of("cache.values"), numbers.alpha, numbers.beta)
    return View(
        name=numbers.name,
        prototypes=of("prototypes"),
        bias=of("bias"),
        pooling=of("pooling"),
        scale=numbers.scale,
        l2=numbers.l2,
        projection=tensors.get(f"{numbers.name}.projection"),
        adapter=adapter,
        cache=cache,
    )


def _faults(head: ScoreHead) -> Iterator[str]:
    names = [view.name for view in head.views]
    if len(set(names)) != len(names) or set(names) not in _SETS_OF_VIEWS:
        yield f"views {names}: one `any`, or one `patient`, alone or with `left` and `right`, so that every eye has one"
        return
    for view in head.views:
        yield from (f"{view.name}.{fault}" for fault in _faults_of_view(view, len(head.rows)))
    if len({_dim(view) for view in head.views}) > 1 or len({len(view.pooling) for view in head.views}) > 1:
        yield "its views disagree on the length of an embedding or on the classes"
    if not head.judges or len({judge.condition for judge in head.judges}) != len(head.judges):
        yield "every condition must be judged once, and there must be one"
    classes = len(head.views[0].pooling)
    for judge in head.judges:
        yield from (f"{judge.condition}: {fault}" for fault in _faults_of_judge(judge, classes, len(head.rows)))


def _faults_of_view(view: View, rows: int) -> Iterator[str]:
    for name, array in _arrays(view):
        if array.dtype != np.float32:
            yield f"{name} is {array.dtype}, not float32"
        if not np.isfinite(array).all():
            yield f"{name} holds numbers that are not finite"
        if array.ndim != (1 if name == "bias" else 2):
            yield f"{name} is {list(array.shape)}: rows and columns expected, one row for a bias"
            return
    d = view.prototypes.shape[-1]
    expected: dict[str, tuple[int, ...]] = {
        "prototypes": (rows, d),
        "bias": (rows,),
        "pooling": (len(view.pooling), rows),
    }
    if view.projection is not None:
        expected["projection"] = (d, _dim(view))
    if view.adapter is not None:
        hidden = len(view.adapter.down)
        expected |= {"adapter.down": (hidden, d), "adapter.up": (d, hidden)}
    if view.cache is not None:
        expected |= {"cache.keys": (len(view.cache.keys), d), "cache.values": (len(view.cache.keys), len(view.pooling))}
    for name, array in _arrays(view):
        if array.shape != expected[name] or not array.size:
            yield f"{name} is {list(array.shape)}, not {list(expected[name])}"
    numbers = _Numbers.of(view)
    if not all(np.isfinite(v) for v in (numbers.scale, numbers.ratio, numbers.alpha, numbers.beta) if v is not None):
        yield "scale, ratio, alpha and beta must be finite"


def _faults_of_judge(judge: Judge, classes: int, rows: int) -> Iterator[str]:
    if not all(0 <= index < classes for index in (judge.positive, *judge.against)) or judge.positive in judge.against:
        yield f"its classes are not among the {classes}, or it competes with itself"
    if not judge.rows or not all(0 <= index < rows for index in judge.rows):
        yield f"its rows are not among the {rows}"
    if judge.operating_point not in judge.thresholds:
        yield f"no threshold for its operating point {judge.operating_point!r}"
    if not all(0 < threshold <= 1 for threshold in judge.thresholds.values()):
        yield "a threshold lies outside 0..1"
    if not (np.isfinite(judge.a) and np.isfinite(judge.c)):
        yield "its calibration is not finite"
