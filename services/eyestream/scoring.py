"""Embeddings to findings: a few small matrix products in NumPy. Nothing here knows text, a model, a file or an exam.

For each picture's embedding x, through the view that fits its eye:

    x' = l2(W x)                                        projection and normalisation, where the view has them
    x' = l2(r·relu(U relu(D x')) + (1 - r)·x')          residual adapter, where the view has one
    z  = s·P x' + b                                     one number for each row (a phrase, a prototype, a probe)
    Z  = A z + α·exp(-β(1 - K x'))·V                    one number for each class; the cache where the view has one
    m  = Z[class] - log Σ exp Z[against]                the condition's margin; Z[class] when nothing stands against it
    p  = 1 / (1 + exp(-(a·m + c)))                      calibrated; with a = 1, c = 0 softmax and sigmoid exactly

The sums run in double precision and p is rounded to six decimals, so that a picture gets the same result whatever its
batch-mates and however the linear algebra library blocks its products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from eyestream.records import Finding, Laterality, Vectors

ViewName = Literal["any", "patient", "left", "right"]
Doubles = npt.NDArray[np.float64]

_VIEW_OF: Final[Mapping[Laterality, ViewName]] = {"L": "left", "R": "right"}
_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A residual adapter: `down` [hidden, d], `up` [d, hidden], `ratio` the share of the adapted part."""

    down: Vectors
    up: Vectors
    ratio: float


@dataclass(frozen=True, slots=True, eq=False)
class Cache:
    """Remembered pictures: `keys` [n, d], `values` [n, classes]; they add α·exp(-β(1 - K x))·V to the classes."""

    keys: Vectors
    values: Vectors
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How a picture of one kind of eye is scored: `any`, or RET-CLIP's `patient`, `left` and `right`.

    `prototypes` [rows, d] and `bias` [rows] are scaled by `scale`; `pooling` [classes, rows] makes classes of rows;
    `projection` [d, dim], where there is one, comes before everything.
    """

    name: ViewName
    prototypes: Vectors
    bias: Vectors
    pooling: Vectors
    scale: float
    l2: bool = True
    projection: Vectors | None = None
    adapter: Adapter | None = None
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the prototypes: the phrase it came from, verbatim, and which side it speaks for."""

    prompt: str
    side: Literal["positive", "negative", "rest"] = "positive"


@dataclass(frozen=True, slots=True)
class Judge:
    """How one condition is read off the classes.

    `positive` is its class, `against` the classes it competes with (none: a sigmoid; one: a pair; more: a softmax
    group), `rows` the rows that may be named as the prompt that spoke loudest, `a` and `c` the calibration.
    """

    condition: str
    role: Literal["finding", "quality"]
    positive: int
    against: tuple[int, ...]
    rows: tuple[int, ...]
    thresholds: Mapping[str, float]
    operating_point: str
    a: float = 1.0
    c: float = 0.0

    @property
    def threshold(self) -> float:
        """The threshold at the operating point in use."""
        return self.thresholds[self.operating_point]


class Head(Protocol):
    """What scoring needs of a ScoreHead."""

    @property
    def views(self) -> tuple[View, ...]:
        """One `any`; or one `patient`, alone or with `left` and `right`."""
        ...

    @property
    def rows(self) -> tuple[Row, ...]:
        """The phrases, in the order of the prototypes."""
        ...

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The conditions, in the order of the programme."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """One picture judged: every finding looked for, positive or not, in the programme's order.

    `quality` holds the quality conditions in the same form; `ungradable` names the one furthest above its operating
    point, None when none reaches it. Findings of an ungradable picture are there too: triage decides what they count.
    """

    findings: tuple[Finding, ...]
    ungradable: str | None
    quality: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The numbers behind judgements: `probabilities` [n, conditions] and `loudest` [n, conditions], indices of rows.

    `log_odds` [n, conditions] are a·m + c: they still tell pictures apart whose probabilities are both rounded to 1.
    """

    probabilities: Doubles
    loudest: npt.NDArray[np.intp]
    log_odds: Doubles


def score(head: Head, embeddings: Vectors, *, lateralities: Sequence[Laterality] | None = None) -> list[Judgement]:
    """One judgement for each row of `embeddings` [n, dim], in order; row i depends on embedding i (and eye i) alone.

    `lateralities` matters only to heads with a left and a right view; a picture of an unknown eye goes through the
    patient's. Raises ValueError for a row that is not finite, or of length 0 where the head normalises: that is a
    fault of the encoder, not of the picture.
    """
    scores = probabilities(head, embeddings, lateralities=lateralities)
    return [
        _judgement(head, row, loudest)
        for row, loudest in zip(scores.probabilities.tolist(), scores.loudest.tolist(), strict=True)
    ]


def probabilities(head: Head, embeddings: Vectors, *, lateralities: Sequence[Laterality] | None = None) -> Scores:
    """The same as arrays, for scoring millions of archived embeddings; promises as `score`."""
    x = _checked(head, embeddings)
    eyes: Sequence[Laterality] = ["U"] * len(x) if lateralities is None else lateralities
    if len(eyes) != len(x):
        raise ValueError(f"{len(x)} embeddings came with {len(eyes)} lateralities")
    result = Scores(
        np.empty((len(x), len(head.judges))),
        np.empty((len(x), len(head.judges)), dtype=np.intp),
        np.empty((len(x), len(head.judges))),
    )
    names = {view.name for view in head.views}
    for view in head.views:
        mine = [i for i, eye in enumerate(eyes) if _view_for(eye, names) == view.name]
        if mine:
            _through(view, head.judges, x[mine], result, mine)
    return result


def logits(view: View, embeddings: Vectors) -> Doubles:
    """Z of the formulas above for embeddings [n, dim] through one view: one number for each class, [n, classes]."""
    return _numbers(view, embeddings.astype(np.float64))[1]


def _view_for(eye: Laterality, names: set[ViewName]) -> ViewName:
    own = _VIEW_OF.get(eye)
    if own is not None and own in names:
        return own
    return "patient" if "patient" in names else "any"


def _checked(head: Head, embeddings: Vectors) -> Doubles:
    if embeddings.ndim != 2 or embeddings.shape[1] != head.dim:  # noqa: PLR2004 - rows and columns
        raise ValueError(f"embeddings are {list(embeddings.shape)}; this head reads [n, {head.dim}]")
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        raise ValueError(f"embeddings {bad.tolist()} are not finite")
    return embeddings.astype(np.float64)


def _through(view: View, judges: Sequence[Judge], x: Doubles, into: Scores, rows: Sequence[int]) -> None:
    by_row, by_class = _numbers(view, x)
    against, there = _padded([judge.against for judge in judges])
    rivals = _log_sum_exp(np.where(there, by_class[:, against], -np.inf))
    margin = by_class[:, [judge.positive for judge in judges]] - rivals
    a, c = (np.asarray(numbers) for numbers in zip(*((judge.a, judge.c) for judge in judges), strict=True))
    log_odds = a * margin + c
    into.log_odds[rows] = log_odds
    into.probabilities[rows] = np.round(_sigmoid(log_odds), _DECIMALS)
    own, there = _padded([judge.rows for judge in judges])
    loudest = np.where(there, by_row[:, own], -np.inf).argmax(axis=2)
    into.loudest[rows] = own[np.arange(len(judges)), loudest]


def _numbers(view: View, x: Doubles) -> tuple[Doubles, Doubles]:
    """Of the formulas above z and Z: one number for each row, one for each class."""
    x = _prepared(view, x)
    by_row: Doubles = view.scale * (x @ view.prototypes.T.astype(np.float64)) + view.bias
    by_class: Doubles = by_row @ view.pooling.T.astype(np.float64)
    if view.cache is not None:
        nearness = np.exp(-view.cache.beta * (1.0 - x @ view.cache.keys.T.astype(np.float64)))
        by_class += view.cache.alpha * (nearness @ view.cache.values.astype(np.float64))
    return by_row, by_class


def _padded(lists: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Ragged indices as a rectangle, so that all conditions are computed at once, and where it holds one."""
    width = max(1, *(len(indices) for indices in lists))
    filled = np.asarray([[*indices, *[0] * (width - len(indices))] for indices in lists], dtype=np.intp)
    return filled, np.arange(width) < np.asarray([len(indices) for indices in lists])[:, None]


def _prepared(view: View, x: Doubles) -> Doubles:
    if view.projection is not None:
        x = x @ view.projection.T.astype(np.float64)
    if view.l2:
        x = _unit(x)
    if view.adapter is not None:
        hidden = np.maximum(x @ view.adapter.down.T.astype(np.float64), 0.0)
        adapted = np.maximum(hidden @ view.adapter.up.T.astype(np.float64), 0.0)
        x = view.adapter.ratio * adapted + (1.0 - view.adapter.ratio) * x
        if view.l2:
            x = _unit(x)
    return x


def _unit(x: Doubles) -> Doubles:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not length.all():
        raise ValueError("an embedding of length 0 has no direction")
    unit: Doubles = x / length
    return unit


def _log_sum_exp(z: Doubles) -> Doubles:
    """Over the last axis, whose entries may be -inf; 0 where all of them are."""
    top = z.max(axis=-1)
    top = np.where(np.isfinite(top), top, 0.0)
    apart = np.exp(z - top[..., None]).sum(axis=-1)
    total: Doubles = top + np.log(np.where(apart > 0, apart, 1.0))
    return total


def _sigmoid(z: Doubles) -> Doubles:
    small = np.exp(-np.abs(z))  # never overflows
    both: Doubles = np.where(z >= 0, 1.0, small) / (1.0 + small)
    return both


def _judgement(head: Head, row: Sequence[float], loudest: Sequence[int]) -> Judgement:
    findings: list[Finding] = []
    quality: list[Finding] = []
    for judge, probability, prompt in zip(head.judges, row, loudest, strict=True):
        finding = Finding(
            condition=judge.condition,
            probability=probability,
            threshold=judge.threshold,
            operating_point=judge.operating_point,
            prompt=head.rows[prompt].prompt,
        )
        (findings if judge.role == "finding" else quality).append(finding)
    failed = [finding for finding in quality if finding.positive]
    worst = max(failed, key=lambda finding: finding.probability - finding.threshold, default=None)
    return Judgement(tuple(findings), None if worst is None else worst.condition, tuple(quality))
