"""What an engine must pass before it is published: numbers held against bounds, on the worst picture. Knows no torch.

Agreement is never a mean and never a cosine alone: a class token pooled by mistake moves a cosine by 5e-6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyestream.decoding import Limits, decode
from eyestream.errors import Misconfigured
from eyestream.records import Pixels
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.spec import EncoderFile, Input

Floats = npt.NDArray[np.float32]

BANK: Final = 256
"""Directions of the bank whose order is compared."""
PICTURES: Final = 6
VOLUMES: Final = 3
"""The same of volumes, each of which is as much work as its frames."""
GREY_LEVELS: Final = 1.0
"""Between two decoders or resizers of one picture, at worst."""
_SIDES: Final = (3, 7, 15, 31, 63)
_SAMPLES: Final = 11


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two sets of vectors compared.

    `absolute`: the largest difference of one number, in units of the reference's root mean square.
    `cosine`: of the worst picture. `rank`: of the worst picture, Spearman's correlation of its scores over a bank of
    directions, after the mean picture is taken off both, so that what all pictures share cannot hide a difference.
    """

    absolute: float
    cosine: float
    rank: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one gate measured, and its bounds; None where a gate has no such bound."""

    gate: str
    absolute: float
    absolute_bound: float
    cosine: float | None = None
    cosine_bound: float | None = None
    rank: float | None = None
    rank_bound: float | None = None

    @property
    def passed(self) -> bool:
        """Whether every bound holds; what is not a number never does."""
        pairs = ((self.cosine, self.cosine_bound), (self.rank, self.rank_bound))
        floors = all(bound is None or (value is not None and value >= bound) for value, bound in pairs)
        return self.absolute <= self.absolute_bound and floors

    def told(self) -> str:
        """One line for a person."""
        parts = [f"largest difference {self.absolute:.2e} (bound {self.absolute_bound:.0e})"]
        if self.cosine is not None:
            parts.append(f"worst cosine {self.cosine:.7f} (bound {self.cosine_bound})")
        if self.rank is not None:
            parts.append(f"worst rank agreement {self.rank:.5f} (bound {self.rank_bound})")
        return f"{self.gate}: {', '.join(parts)}"

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {name: value for name, value in asdict(self).items() if value is not None} | {"passed": self.passed}


def require(reading: Reading) -> Reading:
    """The reading; raises Misconfigured when it is beyond its bounds."""
    if not reading.passed:
        raise Misconfigured(f"the engine is not the encoder, and is not published. {reading.told()}")
    return reading


def original(got: Mapping[str, Floats], case: Case, encoder: EncoderFile) -> list[Reading]:
    """Every array that the original stored for the case against ours; one we did not compute is infinitely far."""
    bound = encoder.tolerance.original
    return [
        Reading(f"original {name}", _largest(got.get(name), wanted), bound) for name, wanted in case.expected().items()
    ]


def graph(reference: Floats, got: Floats, encoder: EncoderFile) -> Reading:
    """The FP32 graph against torch."""
    found = agreement(reference, got)
    return Reading("graph in FP32", found.absolute, encoder.tolerance.graph)


def half(name: str, reference: Floats, got: Floats, encoder: EncoderFile) -> Reading:
    """Something that computes in FP16 against torch in FP32."""
    found, bounds = agreement(reference, got), encoder.tolerance
    return Reading(name, found.absolute, bounds.half, found.cosine, bounds.cosine, found.rank, bounds.rank)


def preprocessing(encoder: EncoderFile, case: Case) -> Reading | None:
    """The stored picture, decoded and normalised by us, against the authors' own code; in grey levels.

    None where the case stores nothing of this encoder's preparation.
    """
    path, variant = case.folder / "preprocess.npz", encoder.parity_preprocessing
    if variant == "none" or not path.exists():
        return None
    prefix = "" if variant == "main" else f"{variant}_"
    size = encoder.input
    pixels = decode(
        (PARITY / "disc.png").read_bytes(),
        preprocessing=encoder.preprocessing,
        height=size.height,
        width=size.width,
        limits=Limits(),
    )
    with np.load(path) as stored:
        wanted = {name.removeprefix(prefix): stored[name] for name in stored.files if name.startswith(prefix)}
    ours = normalised(pixels[None], size)[0]
    levels = 255 * float(max(size.std))
    return Reading("preprocessing, grey levels", levels * _distance(ours, wanted), GREY_LEVELS)


def agreement(reference: Floats, got: Floats) -> Agreement:
    """Compare vectors [n, dim], row for row."""
    if reference.shape != got.shape or not np.isfinite(got).all():
        return Agreement(float("inf"), -1.0, -1.0)
    unit = float(np.sqrt(np.square(reference, dtype=np.float64).mean()))
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (reference * got).sum(1, dtype=np.float64) / np.maximum(lengths, np.finfo(np.float32).tiny)
    middle = reference.mean(0) if len(reference) > 1 else np.zeros_like(reference[0])
    directions = np.random.default_rng(0).standard_normal((BANK, reference.shape[1])).astype(np.float32)
    ranks = [
        _spearman(directions @ (one - middle), directions @ (other - middle))
        for one, other in zip(reference, got, strict=True)
    ]
    return Agreement(float(np.abs(reference - got).max()) / unit, float(cosines.min()), min(ranks))


def pictures(told: Input, count: int | None = None, *, seed: int = 0) -> Pixels:
    """Soft patterns of several sizes, brightnesses and colours, and one of plain noise: no two give near vectors."""
    rng = np.random.default_rng(seed)
    if count is None:
        count = PICTURES if told.frames is None else VOLUMES
    frames = () if told.frames is None else (told.frames,)
    shape = (count, *frames, told.height, told.width, told.channels)
    drawn = np.empty(shape, np.uint8)
    for one in drawn.reshape(-1, told.height, told.width, told.channels):
        one[:] = _pattern(rng, told)
    drawn[-1] = rng.integers(0, 256, shape[1:], dtype=np.uint8)
    return drawn


def normalised(pixels: Pixels, told: Input) -> Floats:
    """What the network reads, by arithmetic of its own: not by the engine's front, which is judged by it."""
    scaled = pixels.astype(np.float64) / 255
    wanted = (scaled - np.array(told.mean)) / np.array(told.std)
    return np.ascontiguousarray(np.moveaxis(wanted, -1, 1), dtype=np.float32)


def unit(vectors: Floats) -> Floats:
    """The vectors at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _pattern(rng: np.random.Generator, told: Input) -> npt.NDArray[np.uint8]:
    total = np.zeros((told.height, told.width, told.channels), np.float32)
    for side in _SIDES:
        coarse = rng.standard_normal((side, side, told.channels)).astype(np.float32)
        planes = [
            Image.fromarray(coarse[..., channel]).resize((told.width, told.height), Image.Resampling.BICUBIC)
            for channel in range(told.channels)
        ]
        total += rng.uniform(0.2, 1.0) * np.stack([np.asarray(plane) for plane in planes], -1)
    centre, spread = rng.uniform(60, 190, told.channels), rng.uniform(15, 60)
    return np.clip(total * spread + centre, 0, 255).astype(np.uint8)


def _largest(got: Floats | None, wanted: Floats) -> float:
    if got is None or got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - wanted).max())


def _spearman(one: Floats, other: Floats) -> float:
    first, second = (np.argsort(np.argsort(scores)).astype(np.float64) for scores in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def _distance(ours: Floats, wanted: Mapping[str, npt.NDArray[Any]]) -> float:
    """The largest difference of whatever was stored, in normalised units; of another size, infinitely far."""
    if tuple(wanted["shape"]) != ours.shape:
        return float("inf")
    blocks = wanted["pool8"] if "pool8" in wanted else wanted["map8"]
    rows, columns = ours.shape[1] // blocks.shape[1], ours.shape[2] // blocks.shape[2]
    pooled = ours.reshape(len(ours), blocks.shape[1], rows, blocks.shape[2], columns).mean((2, 4))
    if "sample_index" in wanted:
        samples, values = ours[tuple(wanted["sample_index"].T)], wanted["sample_value"]
    else:
        values = wanted["samples"]
        samples = ours.ravel()[np.random.default_rng(_SAMPLES).integers(0, ours.size, len(values))]
    pairs = (
        (ours.mean((1, 2)), wanted["mean"]),
        (ours.std((1, 2)), wanted["std"]),
        (pooled, blocks),
        (samples, values),
    )
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)
