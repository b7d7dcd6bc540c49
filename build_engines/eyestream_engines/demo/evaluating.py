"""How well prompts find what rendered eyes show: areas under ROC curves, with phrases trained and held out.

Knows no network: it takes embeddings, wherever they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from eyestream.banks.base import TextEncoder
from eyestream.records import Vectors
from eyestream.testing.eyes import FAULTS, FINDINGS, Eye
from eyestream.testing.eyes.captions import held_out_phrasings, phrasings
from eyestream.testing.eyes.claims import Claim, holds

CONDITIONS: Final = (
    *(Claim("finding", name) for name in FINDINGS),
    *(Claim("fault", name) for name in FAULTS),
)
"""What the demo screens for: six findings, four faults of quality."""
FEW: Final = 24
"""Phrases averaged into one prompt, at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """One condition: how many pictures show it of how many that can be judged, and the areas under the curve.

    `prompt` averages trained phrases, `bare` is the condition's plainest phrase alone, `held_out` averages phrases
    no training caption used, `worst` is the worst single phrase of those.
    """

    condition: str
    positive: int
    pictures: int
    prompt: float
    bare: float
    held_out: float
    worst: float


def auroc(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve, ties counted half; NaN when one side is empty."""
    positive, negative = scores[labels], scores[~labels]
    if not len(positive) or not len(negative):
        return float("nan")
    order = np.sort(negative)
    below = np.searchsorted(order, positive, "left") + np.searchsorted(order, positive, "right")
    return float(below.mean() / 2 / len(negative))


def prompt(text: TextEncoder, phrases: Sequence[str]) -> Vectors:
    """The mean vector of phrases, of length 1."""
    mean = text.encode(phrases).mean(0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def evaluate(text: TextEncoder, eyes: Sequence[Eye], vectors: Vectors) -> list[Row]:
    """One row a condition, findings first, on the eyes and their embeddings."""
    rows = []
    for claim in CONDITIONS:
        labels, said = _labels(claim, eyes)
        trained, new = phrasings(claim), held_out_phrasings(claim)
        spread = trained[:: max(1, len(trained) // FEW)]
        seen = vectors[said]

        def area(phrases: Sequence[str], seen: Vectors = seen, labels: npt.NDArray[np.bool_] = labels) -> float:
            return auroc(seen @ prompt(text, phrases), labels)

        rows.append(
            Row(
                condition=claim.value,
                positive=int(labels.sum()),
                pictures=len(labels),
                prompt=area(spread),
                bare=area(trained[:1]),
                held_out=area(new),
                worst=min(area([phrase]) for phrase in new),
            )
        )
    return rows


def _labels(claim: Claim, eyes: Sequence[Eye]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Whether the claim is true, of the eyes of which it can be said; findings are asked of gradable pictures only."""
    known = [holds(claim, eye) if claim.kind == "fault" or eye.quality is None else None for eye in eyes]
    said = np.array([value is not None for value in known])
    return np.array([bool(value) for value in known if value is not None]), said


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table with their mean."""
    lines = [
        "| condition | pictures | with it | prompt | plainest phrase | held-out phrases | worst held-out phrase |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.condition} | {row.pictures} | {row.positive} | {row.prompt:.3f} | {row.bare:.3f} | {row.held_out:.3f} "
        f"| {row.worst:.3f} |"
        for row in rows
    ]
    mean = {name: np.mean([getattr(row, name) for row in rows]) for name in ("prompt", "bare", "held_out", "worst")}
    lines.append(
        f"| **mean** | | | **{mean['prompt']:.3f}** | {mean['bare']:.3f} | **{mean['held_out']:.3f}** "
        f"| {mean['worst']:.3f} |"
    )
    return "\n".join(lines)
