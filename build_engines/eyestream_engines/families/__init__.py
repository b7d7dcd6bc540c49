"""Families of networks, a module each: what a checkpoint must hold, and the torch module it becomes.

A family's module has, beside what it likes:

    def expected(encoder: EncoderFile) -> Mapping[str, Expected]
        Every key of the published file, named as `checkpoints.read` hands it over: out of its wrapper, without the
        prefixes of `checkpoint.strip`. Needs no weights. Keys that the TOML's `checkpoint.ignored` names need not be
        here.
    def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module
        In eval mode, float32: normalised pictures [n, 3, height, width] -> embeddings [n, dim], pooled as published.
        Length 1, float16, uint8 and normalisation are put around it by `export`. The weights were checked against
        `expected`; they may be memory-mapped and must not be changed in place.
    def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Mapping[str, NDArray[float32]]
        Every array of the encoder's parity case, computed in float32 from the case's own inputs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyestream_engines.cases import Case
    from eyestream_engines.spec import EncoderFile

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Expected:
    """One key of a checkpoint; None in `shape` where any size will do (classes, the rank of an adapter).

    `use`: `used` must be there; `optional` is used where it is there; `ignored` is never read, may be missing, and a
    shape of None means that nobody minds.
    """

    shape: tuple[int | None, ...] | None
    use: Literal["used", "optional", "ignored"] = "used"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape can stand here."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want in (None, have) for want, have in zip(self.shape, shape, strict=True)
        )


class Family(Protocol):
    """What the module of a family holds; see the top of this file."""

    def expected(self, encoder: EncoderFile) -> Mapping[str, Expected]:
        """Every key of the published file."""
        ...

    def module(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
        """The network."""
        ...

    def arrays(self, encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
        """What the original stored."""
        ...


def family_of(encoder: EncoderFile) -> Family:
    """The module that knows the encoder's architecture."""
    name = encoder.architecture.family.replace("-", "_")
    return cast("Family", cast("Any", importlib.import_module(f"{__name__}.{name}")))
