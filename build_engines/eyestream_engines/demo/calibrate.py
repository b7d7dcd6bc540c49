"""Operating points of the demo programme, from rendered eyes of the validation split, written into its TOML.

`python -m eyestream_engines.demo.calibrate`. Never looks at the test split.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from eyestream.banks.build import build
from eyestream.banks.head import ScoreHead
from eyestream.programmes import Programme
from eyestream.records import Vectors
from eyestream.scoring import probabilities
from eyestream.testing.eyes import FINDINGS, Eye
from eyestream_engines.demo.evaluate import graph, text_tower
from eyestream_engines.demo.evaluating import auroc
from eyestream_engines.demo.pictures import CACHE, corpus, spec
from eyestream_engines.inference import embed
from eyestream_engines.spec import SHELF

PROGRAMME: Final = SHELF.parent / "services" / "eyestream" / "programmes" / "demo.toml"
RATE: Final = 0.95
"""Sensitivity of the sensitive operating point, specificity of the specific one."""
EDGE: Final = 0.0005
"""Thresholds stay this far from 0 and 1."""
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Point:
    """What one condition gets: Platt's a and b, and three thresholds on the calibrated probability."""

    a: float
    b: float
    sensitive: float
    balanced: float
    specific: float
    area: float


def margins(head: ScoreHead, vectors: Vectors) -> dict[str, Doubles]:
    """Each condition's margin before calibration, at the head's scale."""
    (view,) = head.views
    bare = ScoreHead(
        (replace(view, scale=1.0, bias=view.bias / view.scale),),
        head.rows,
        tuple(replace(judge, a=1.0, c=0.0) for judge in head.judges),
        head.provenance,
    )
    p = probabilities(bare, vectors).probabilities
    return {judge.condition: view.scale * np.log(p[:, i] / (1 - p[:, i])) for i, judge in enumerate(head.judges)}


def labelled(condition: str, eyes: Sequence[Eye]) -> tuple[Flags, Flags]:
    """Which eyes show the condition, and which can be asked: a finding is asked of gradable pictures only."""
    if condition in FINDINGS:
        return np.array([condition in eye.findings for eye in eyes]), np.array([eye.quality is None for eye in eyes])
    return np.array([eye.quality == condition for eye in eyes]), np.ones(len(eyes), bool)


def platt(margin: Doubles, labels: Flags) -> tuple[float, float]:
    """Find a > 0 and b that make 1 / (1 + exp(-(a·m + b))) the most likely, with Platt's softened targets."""
    positive = int(labels.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2)
    target = np.where(labels, high, low)
    x = np.stack([margin, np.ones_like(margin)], axis=1)
    weights = np.array([1.0 / max(1e-6, float(margin.std())), 0.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (p - target))
        weights -= step * min(1.0, 2.0 / max(1e-9, float(np.abs(step).max())))
    return max(1e-3, float(weights[0])), float(weights[1])


def point(margin: Doubles, labels: Flags) -> Point:
    """Calibration and thresholds of one condition; cuts lie midway between the margins they part."""
    a, b = platt(margin, labels)
    seen = np.unique(margin)
    between = (seen[1:] + seen[:-1]) / 2
    sensitivity = np.array([(margin[labels] >= cut).mean() for cut in between])
    specificity = np.array([(margin[~labels] < cut).mean() for cut in between])
    sensitive = between[np.append(0, np.flatnonzero(sensitivity >= RATE))[-1]]
    specific = between[np.append(np.flatnonzero(specificity >= RATE), len(between) - 1)[0]]
    total = sensitivity + specificity
    best = between[total >= total.max() - 1e-9]
    chances = 1 / (1 + np.exp(-np.clip(a * np.array([sensitive, best[len(best) // 2], specific]) + b, -30, 30)))
    low, middle, high = sorted(float(np.clip(chance, EDGE, 1 - EDGE)) for chance in chances)
    return Point(a, b, low, middle, high, auroc(margin, labels))


def written(text: str, points: dict[str, Point]) -> str:
    """The programme's text with the calibration and thresholds of every condition replaced.

    Raises ValueError when a condition has no such lines.
    """
    for condition, found in points.items():
        numbers = f"calibration = {{ a = {found.a:.4f}, b = {found.b:.4f} }}"
        cuts = (
            f"thresholds = {{ high-sensitivity = {found.sensitive:.4f}, balanced = {found.balanced:.4f}, "
            f"high-specificity = {found.specific:.4f} }}"
        )
        name = re.escape(condition)
        lines = re.compile(rf'(id = "{name}"\n(?:(?!\[\[).)*?)calibration = [^\n]*\nthresholds = [^\n]*', re.DOTALL)
        text, count = lines.subn(rf"\g<1>{numbers}\n{cuts}", text, count=1)
        if not count:
            raise ValueError(f"the programme has no calibration and thresholds under {condition}")
    return text


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eyes", type=int, default=1_000, help="how many eyes of the validation split")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered eyes are kept")
    options = parser.parse_args()
    eyes, pixels = corpus("validate", options.eyes, cache_dir=options.cache)
    programme = Programme.load(PROGRAMME)
    head = build(
        programme, text_tower(), encoder_digest=spec().digest(), preprocessing_digest=spec().preprocessing.digest
    )
    points = {}
    for condition, margin in margins(head, embed(graph(), pixels)).items():
        labels, asked = labelled(condition, eyes)
        points[condition] = point(margin[asked], labels[asked])
        print(f"{condition:16} {points[condition]}")  # noqa: T201 - this program's output
    PROGRAMME.write_text(written(PROGRAMME.read_text("utf-8"), points), "utf-8")


if __name__ == "__main__":
    main()
