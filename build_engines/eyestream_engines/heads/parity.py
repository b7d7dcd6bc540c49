"""FLAIR's adapters through ScoreHeads, on vectors drawn from a seed, for the case of the original's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.records import Digest, Vectors
from eyestream.scoring import logits
from eyestream_engines.cases import Case
from eyestream_engines.gates import Reading
from eyestream_engines.heads.classes import linear, named
from eyestream_engines.heads.fewshot import CLIP_RATIO, clip_adapter, probe, tip_adapter

CASE: Final = "flair_adapters"
_STREAM: Final = 12
_BOUND: Final = 1e-4
_SCALE: Final = 1 / 0.07
_LABELS: Final = np.arange(12) % 3
_NOWHERE: Final = Provenance(encoder=Digest("0" * 64), preprocessing=Digest("0" * 64), kind="probe")


def arrays(case: Case) -> Mapping[str, npt.NDArray[np.float32]]:
    """Every array of the case at its seed."""
    rng = case.draw(_STREAM)
    support, query, texts = _unit(rng, 12), _unit(rng, 5), np.float32(0.9) * _unit(rng, 3)
    down = (rng.standard_normal((128, 512)) / math.sqrt(512)).astype(np.float32)
    up = (rng.standard_normal((512, 128)) / math.sqrt(128)).astype(np.float32)
    query = query + np.float32(0.5) * support[:5]
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    classes = named(("first", "second", "third"))
    zero_shot = linear(texts, None, classes, _NOWHERE, scale=_SCALE, l2=True)
    adapted = clip_adapter(zero_shot, down, up, ratio=CLIP_RATIO)
    fitted = probe(support, _LABELS, classes, _NOWHERE)
    binary = probe(support, (_LABELS > 0).astype(np.int64), named(("without", "with")), _NOWHERE)
    found = {
        "zero_shot_logits": _logits(zero_shot, query),
        "tip_logits": _logits(tip_adapter(zero_shot, support, _LABELS), query),
        "clip_adapter_logits": _logits(adapted, query),
        "clip_adapter_feature": _feature(adapted, query),
        "lp_weight": fitted.views[0].prototypes,
        "lp_bias": fitted.views[0].bias[None],
        "lp_logits": _logits(fitted, query),
        "lp_binary_weight": binary.views[0].prototypes,
        "lp_binary_bias": binary.views[0].bias[None],
    }
    return {name: np.asarray(array, np.float32) for name, array in found.items()}


def readings(case: Case) -> Iterator[Reading]:
    """Every array that the original stored against ours; one of another shape is infinitely far."""
    found = arrays(case)
    for name, wanted in case.expected().items():
        ours = found.get(name, np.empty(0, np.float32))
        apart = float(np.abs(ours - wanted).max()) if ours.shape == wanted.shape else math.inf
        yield Reading(f"original {name}", apart, _BOUND)


def _unit(rng: np.random.Generator, rows: int) -> Vectors:
    drawn = rng.standard_normal((rows, 512)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def _logits(head: ScoreHead, x: Vectors) -> npt.NDArray[np.float64]:
    return logits(head.views[0], x)


def _feature(head: ScoreHead, x: Vectors) -> npt.NDArray[np.float64]:
    """What the adapter makes of vectors: the scores against every direction of space in turn."""
    space = np.eye(x.shape[1], dtype=np.float32)
    view = replace(head.views[0], prototypes=space, bias=np.zeros(len(space), np.float32), pooling=space, scale=1.0)
    return logits(view, x)
