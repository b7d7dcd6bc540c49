"""What a family's text side is: a tower for each view of a patient, and the scale its scores are multiplied by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from eyestream.scoring import ViewName


@dataclass(frozen=True, slots=True, eq=False)
class Towers:
    """`towers`: modules (ids int64 [n, length], mask bool) -> unit vectors [n, dim]; `scales`: of their scores."""

    towers: Mapping[ViewName, nn.Module]
    scales: Mapping[ViewName, float]


def unit(x: Tensor) -> Tensor:
    """Rows brought to length 1."""
    return functional.normalize(x, dim=-1)
