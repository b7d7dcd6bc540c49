"""Heads from a handful of labelled pictures: prototypes, a linear probe, CLIP-Adapter, TIP-Adapter. Knows no model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.records import Vectors
from eyestream.scoring import Adapter, Cache
from eyestream_engines.heads.classes import Classes, linear, named

Labels = npt.NDArray[np.int64]
TIP_SCALE: Final = 100.0
"""What TIP-Adapter's authors multiply the text's score by, whatever the checkpoint learned."""
TIP_ALPHA, TIP_BETA = 1.0, 5.0
CLIP_RATIO: Final = 0.2
PROBE: Final = {"C": 0.316, "max_iter": 1000, "class_weight": "balanced", "random_state": 0}
"""How FLAIR's authors fit their probe."""


def prototypes(
    support: Vectors, labels: Labels, classes: Classes, provenance: Provenance, *, scale: float
) -> ScoreHead:
    """A class is the direction of its pictures' mean; scores are cosines times `scale`.

    Raises Misconfigured for a class without pictures.
    """
    unit = support / np.linalg.norm(support, axis=1, keepdims=True)
    means = [unit[_chosen(labels, place, label)].mean(axis=0) for place, label in enumerate(classes.labels)]
    matrix = np.asarray(means, np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return linear(matrix, None, classes, provenance, scale=scale, l2=True)


def probe(
    support: Vectors, labels: Labels, classes: Classes, provenance: Provenance, *, l2: bool = False, **how: Any
) -> ScoreHead:
    """scikit-learn's logistic regression on embeddings as they come, or with `l2` of length 1.

    Of two classes it fits one row, and the head asks for the second against nothing. `how` goes over `PROBE`.
    Raises Misconfigured for a class without pictures.
    """
    from sklearn.linear_model import LogisticRegression

    for place, label in enumerate(classes.labels):
        _chosen(labels, place, label)
    read = support / np.linalg.norm(support, axis=1, keepdims=True) if l2 else support
    fitted = LogisticRegression(**(PROBE | how)).fit(read, labels)
    if len(classes.labels) == 2:  # noqa: PLR2004 - scikit-learn's one row
        classes = named(classes.labels[1:], "sigmoid")
    return linear(fitted.coef_, fitted.intercept_, classes, provenance, l2=l2)


def clip_adapter(head: ScoreHead, down: Vectors, up: Vectors, *, ratio: float = CLIP_RATIO) -> ScoreHead:
    """The head behind a trained residual adapter: `down` [hidden, d], `up` [d, hidden], without biases."""
    adapter = Adapter(np.ascontiguousarray(down, np.float32), np.ascontiguousarray(up, np.float32), ratio)
    views = tuple(replace(view, adapter=adapter) for view in head.views)
    return ScoreHead(views, head.rows, head.judges, replace(head.provenance, kind="adapter"))


def tip_adapter(
    head: ScoreHead,
    support: Vectors,
    labels: Labels,
    *,
    scale: float = TIP_SCALE,
    alpha: float = TIP_ALPHA,
    beta: float = TIP_BETA,
) -> ScoreHead:
    """The head with pictures remembered beside its texts; `labels` are places of its classes.

    `scale` is the text's: a constant in the published formula, which RET-CLIP's authors replace by the checkpoint's.
    """
    classes = len(head.views[0].pooling)
    if labels.min() < 0 or labels.max() >= classes:
        raise Misconfigured(f"labels reach from {labels.min()} to {labels.max()}, and the head has {classes} classes")
    keys = np.ascontiguousarray(support / np.linalg.norm(support, axis=1, keepdims=True), np.float32)
    cache = Cache(keys, np.eye(classes, dtype=np.float32)[labels], alpha, beta)
    views = tuple(replace(view, cache=cache, scale=scale) for view in head.views)
    return ScoreHead(views, head.rows, head.judges, replace(head.provenance, kind="adapter"))


def _chosen(labels: Labels, place: int, label: str) -> npt.NDArray[np.intp]:
    found = np.flatnonzero(labels == place)
    if not found.size:
        raise Misconfigured(f"there is no picture of {label!r} to learn it from")
    return found
