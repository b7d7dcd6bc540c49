"""Heads that read classes off an embedding with one matrix: how its rows are arranged. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.errors import Misconfigured
from eyestream.records import Vectors
from eyestream.scoring import Judge, Row, View

Arrangement = Literal["softmax", "pairs", "sigmoid"]
EVEN = 0.5


@dataclass(frozen=True, slots=True)
class Classes:
    """What a matrix's rows stand for.

    `softmax`: row k is the k-th label, and all exclude each other. `pairs`: rows 2k and 2k + 1 are against and for
    label k, which excludes nothing else. `sigmoid`: row k is label k by itself.
    `thresholds`: of a label, by operating point; 0.5 for the others: published heads come without any.
    """

    labels: tuple[str, ...]
    arrangement: Arrangement = "softmax"
    operating_point: str = "balanced"
    thresholds: Mapping[str, Mapping[str, float]] | None = None

    @property
    def rows(self) -> int:
        """How many rows the matrix must have."""
        return len(self.labels) * (2 if self.arrangement == "pairs" else 1)

    def prompts(self) -> tuple[Row, ...]:
        """The rows as a result names them."""
        if self.arrangement != "pairs":
            return tuple(Row(label) for label in self.labels)
        return tuple(row for label in self.labels for row in (Row(f"no {label}", "negative"), Row(label)))

    def judges(self) -> tuple[Judge, ...]:
        """One for each label."""
        return tuple(self._judge(place, label) for place, label in enumerate(self.labels))

    def _judge(self, place: int, label: str) -> Judge:
        positive = 2 * place + 1 if self.arrangement == "pairs" else place
        rivals = {
            "pairs": (2 * place,),
            "sigmoid": (),
            "softmax": tuple(other for other in range(len(self.labels)) if other != place),
        }
        given = (self.thresholds or {}).get(label, {self.operating_point: EVEN})
        return Judge(
            condition=label,
            role="finding",
            positive=positive,
            against=rivals[self.arrangement],
            rows=(positive,),
            thresholds=dict(given),
            operating_point=self.operating_point,
        )


def linear(
    weight: Vectors,
    bias: Vectors | None,
    classes: Classes,
    provenance: Provenance,
    *,
    scale: float = 1.0,
    l2: bool = False,
) -> ScoreHead:
    """The head `scale · weight x + bias` of embeddings as they come, or with `l2` of embeddings of length 1.

    Raises Misconfigured when the matrix has not the classes' rows.
    """
    if weight.ndim != 2 or len(weight) != classes.rows:  # noqa: PLR2004 - rows and columns
        raise Misconfigured(
            f"the matrix is {list(weight.shape)}, and {len(classes.labels)} labels ({classes.arrangement}) need "
            f"{classes.rows} rows: {', '.join(classes.labels)}"
        )
    view = View(
        name="any",
        prototypes=np.ascontiguousarray(weight, np.float32),
        bias=np.zeros(len(weight), np.float32) if bias is None else np.ascontiguousarray(bias, np.float32),
        pooling=np.eye(len(weight), dtype=np.float32),
        scale=scale,
        l2=l2,
    )
    return ScoreHead((view,), classes.prompts(), classes.judges(), provenance)


def named(labels: Sequence[str], arrangement: Arrangement = "softmax") -> Classes:
    """Classes of these labels; raises Misconfigured when one is there twice."""
    if len(set(labels)) != len(labels):
        raise Misconfigured(f"a label is there twice: {', '.join(labels)}")
    return Classes(tuple(labels), arrangement)
