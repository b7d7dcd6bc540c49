"""From a programme's phrases to a ScoreHead, through any text encoder. Nothing here knows a model or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from eyestream.banks.base import TextEncoder
from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.programmes import Condition, Programme
from eyestream.records import Digest, Vectors
from eyestream.scoring import Judge, Row, View

ALIKE: Final = 0.9995
"""Cosine from which two classes that compete are one to the model: a tower without its weights, or the same phrase."""

Side = Literal["positive", "negative", "rest"]


def build(
    programme: Programme,
    text_encoder: TextEncoder,
    *,
    encoder_digest: Digest,
    preprocessing_digest: Digest,
    tokenizer: str = "",
    padding: str = "",
) -> ScoreHead:
    """The head that asks the programme's phrases of the encoder `encoder_digest`.

    Every phrase is put into every template; a row is the mean over its templates, a class the mean over its rows
    (brought to length 1 if the programme says so), so phrases with equal say are exactly the usual prompt ensemble.
    Deterministic: the same programme and tower give the same digest. Raises Misconfigured when the tower's vectors
    cannot carry the programme: wrong shape or length, not finite, or competing classes that are the same to it.
    """
    layout = _Layout.of(programme)
    prototypes = _rows(layout, text_encoder)
    pooling = _pooling(layout, prototypes, renormalise=programme.scoring.renormalise)
    _refuse_classes_alike(layout, pooling @ prototypes)
    view = View(
        name="any",
        prototypes=prototypes,
        bias=np.full(len(layout.rows), programme.scoring.bias, dtype=np.float32),
        pooling=pooling,
        scale=programme.scoring.scale,
    )
    provenance = Provenance(
        encoder=encoder_digest,
        preprocessing=preprocessing_digest,
        kind="text",
        programme=programme.name,
        text_tower=text_encoder.digest,
        tokenizer=tokenizer,
        padding=padding,
        templates=tuple(dict.fromkeys(template for _, templates in layout.texts for template in templates)),
    )
    return ScoreHead((view,), tuple(layout.rows), tuple(layout.judges), provenance)


@dataclass
class _Layout:
    """Which phrase is which row, and which rows make which class."""

    rows: list[Row] = field(default_factory=list)
    texts: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    classes: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    judges: list[Judge] = field(default_factory=list)

    @classmethod
    def of(cls, programme: Programme) -> _Layout:
        layout = cls()
        default = programme.scoring.templates
        own = {c.id: layout.add(c.id, "positive", c.positive, c.templates or default) for c in programme.conditions}
        rest = {g.name: layout.add(g.name, "rest", g.rest, default) for g in programme.groups if g.rest}
        for condition in programme.conditions:
            against: Iterable[int] = ()
            if condition.group is not None:
                members = [own[other.id] for other in programme.conditions if other.group == condition.group]
                against = [*members, *([rest[condition.group]] if condition.group in rest else [])]
            elif condition.negative:
                templates = condition.templates or default
                against = [layout.add(f"no {condition.id}", "negative", condition.negative, templates)]
            layout.judge(programme, condition, own[condition.id], against)
        return layout

    def add(self, name: str, side: Side, phrases: Sequence[str], templates: Sequence[str]) -> int:
        """A new class of new rows; its index."""
        start = len(self.rows)
        self.rows += [Row(phrase, side) for phrase in phrases]
        self.texts += [(phrase, templates) for phrase in phrases]
        self.classes.append((name, tuple(range(start, len(self.rows)))))
        return len(self.classes) - 1

    def judge(self, programme: Programme, condition: Condition, own: int, against: Iterable[int]) -> None:
        """How the condition is read off its class."""
        self.judges.append(
            Judge(
                condition=condition.id,
                role=condition.role,
                positive=own,
                against=tuple(index for index in against if index != own),
                rows=self.classes[own][1],
                thresholds=dict(condition.thresholds),
                operating_point=programme.operating_point(condition),
                a=condition.calibration.a,
                c=condition.calibration.b,
            )
        )


def _rows(layout: _Layout, text_encoder: TextEncoder) -> Vectors:
    filled = [[template.format(phrase) for template in templates] for phrase, templates in layout.texts]
    texts = list(dict.fromkeys(text for variants in filled for text in variants))
    try:
        vectors = text_encoder.encode(texts)
    except ValueError as error:
        raise Misconfigured(f"the text tower cannot read a phrase of the programme: {error}") from None
    if vectors.shape != (len(texts), text_encoder.dim):
        raise Misconfigured(f"the text tower gave {list(vectors.shape)} for {len(texts)} texts of {text_encoder.dim}")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or np.abs(lengths - 1.0).max() > 1e-3:  # noqa: PLR2004 - of float16 weights
        raise Misconfigured("the text tower's vectors are not all finite and of length 1: are its weights complete?")
    place = {text: index for index, text in enumerate(texts)}
    means = [vectors[[place[text] for text in variants]].mean(axis=0, dtype=np.float64) for variants in filled]
    return np.asarray(means, dtype=np.float32)


def _pooling(layout: _Layout, prototypes: Vectors, *, renormalise: bool) -> Vectors:
    pooling = np.zeros((len(layout.classes), len(layout.rows)), dtype=np.float32)
    for index, (name, rows) in enumerate(layout.classes):
        mean = prototypes[list(rows)].mean(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(mean)) if renormalise else 1.0
        if length < 1e-3:  # noqa: PLR2004 - unit vectors that cancel
            raise Misconfigured(f"{name}: its phrases point in opposite directions; their mean says nothing")
        pooling[index, list(rows)] = 1.0 / (len(rows) * length)
    return pooling


def closest(head: ScoreHead) -> dict[str, float]:
    """For each condition that has rivals, its cosine with the nearest; near 1 the model can hardly tell them apart."""
    classes = head.views[0].pooling @ head.views[0].prototypes
    unit = classes / np.linalg.norm(classes, axis=1, keepdims=True)
    return {
        judge.condition: max(float(unit[judge.positive] @ unit[other]) for other in judge.against)
        for judge in head.judges
        if judge.against
    }


def _refuse_classes_alike(layout: _Layout, vectors: Vectors) -> None:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for judge in layout.judges:
        for other in judge.against:
            if float(unit[judge.positive] @ unit[other]) > ALIKE:
                name = layout.classes[other][0]
                raise Misconfigured(
                    f"to this text tower {judge.condition!r} and {name!r} are the same (cosine above {ALIKE}): "
                    "use other phrases, or check that the tower's weights were loaded"
                )
