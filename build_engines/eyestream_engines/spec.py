"""One published encoder as its TOML describes it. Knows no network, no ONNX and no server."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from eyestream.decoding.preprocessing import Preprocessing
from eyestream.encoders.base import COLOURS
from eyestream.errors import Misconfigured
from eyestream.records import Digest, Slug, digest
from eyestream_engines.architectures import Architecture, Positive, Table, VisionFmDecoder

SHELF: Final = Path(__file__).resolve().parents[1]
"""The folder that holds encoders/, parity/ and the checkpoints that lie in the repository."""

Colour = tuple[float, float, float] | tuple[float]
Bound = Annotated[float, Field(gt=0)]


class Published(Table):
    """Where the file can be had: its names there, whether one must ask, and what is known of its bytes.

    `hub`: the repository on the model hub; `{stem}` in it stands for the file's name without its ending.
    """

    where: str
    hub: str | None = None
    files: tuple[str, ...] = ()
    gated: bool = False
    sha256: tuple[str, ...] = ()

    def holds(self, digest: Digest) -> bool | None:
        """Whether a file of that sha256 is one of the published; None where their hashes are not known here."""
        return digest in self.sha256 if self.sha256 else None


class Checkpoint(Table):
    """How the weights lie in their file.

    `wrapper`: the key of the outer dict that holds them; a file that holds them bare is taken as well.
    `beside`: further outer keys whose tensors are read too, each with the prefix that its names then get.
    `strip`: prefixes taken off every name that has them, in this order.
    `aliases`: prefixes that stand for another one, after stripping.
    `part`: which of the encoders in one file this is, where the file holds several; it enters the identity.
    `ignored`: patterns (`decoder_*`) of names, after stripping, that are never read.
    `file`: of a checkpoint that lies in this repository, relative to build_engines/.
    """

    wrapper: str | None = None
    beside: Mapping[str, str] = Field(default_factory=dict)
    strip: tuple[str, ...] = ()
    aliases: Mapping[str, str] = Field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    part: str | None = None
    file: str | None = None


class Parts(Table):
    """Of a checkpoint that is published as two files, an encoder and what was trained on it: their outer keys.

    `eyestream-engines join` makes the one file that an engine is built from, with the outer keys of `checkpoint`.
    """

    encoder: str
    decoder: str


class Text(Table):
    """The folder of the encoder's text tower, relative to build_engines/."""

    folder: str


class Wording(Table):
    """The text side that a published model brings with it, and how its authors ask it.

    `vocabulary`: the file's name where it is published, and the sha256 of its text with plain line ends.
    `lower`: whether case and accents are taken off first. `context`: most tokens of a text, start and end counted.
    `padding`, for it moves some towers' vectors: to the `context`; to the longest text of the `class`, or of the
    `call`, as the authors' own code does.
    `templates`, `renormalise`: as a programme's. `scale`: of zero-shot scores; the checkpoint's, or a number.
    """

    tokenizer: Literal["wordpiece", "byte-pairs"]
    vocabulary: str
    vocabulary_sha256: str
    lower: bool = True
    context: Positive
    padding: Literal["context", "class", "call"] = "context"
    templates: tuple[str, ...] = ("{}",)
    renormalise: bool = True
    scale: Literal["checkpoint"] | float = "checkpoint"


class Input(Table):
    """Size in pixels, and the mean and deviation of channels scaled to 0..1, which the engine applies itself.

    One mean and one deviation make a grey input of one channel. `frames`: of a volume, how many B-scans; it is
    uint8 [n, frames, height, width, 1] outside and [n, 1, frames, height, width] before the network.
    """

    height: Positive
    width: Positive
    frames: Positive | None = None
    mean: Colour
    std: Colour

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("there must be a deviation for every mean")
        if min(self.std) <= 0:
            raise ValueError("a deviation must be above 0, for pixels are divided by it")
        return self

    @property
    def channels(self) -> int:
        """How many numbers a pixel has."""
        return len(self.mean)

    @property
    def served_by(self) -> str:
        """Whether the line sends such pictures, or only a caller of Triton does; in words for a person."""
        if self.frames is not None:
            return f"Triton alone: it reads volumes of {self.frames} B-scans, and the line sends single pictures"
        if self.channels != COLOURS:
            return f"Triton alone: it reads {self.channels} numbers a pixel, and the line sends {COLOURS}"
        return "the line"


class Output(Table):
    """Length of an embedding and, in words, how the network pools.

    `l2`: whether the engine brings embeddings to length 1. Not where a published head reads them as they are, or where
    two eyes' vectors are added with their lengths.
    """

    dim: Positive
    pooling: str
    l2: bool = True


class Serving(Table):
    """How Triton runs the engine: largest batch, how long it may wait to fill one, copies and threads of each."""

    max_batch: Positive = 32
    preferred_batches: tuple[Positive, ...] = ()
    queue_delay_us: Annotated[int, Field(ge=0)] = 500
    instances: Positive = 1
    intra_op_threads: Positive = 1

    @model_validator(mode="after")
    def _within_the_largest(self) -> Self:
        if any(size > self.max_batch for size in self.preferred_batches):
            raise ValueError(f"a preferred batch is larger than max_batch, {self.max_batch}: no engine would take it")
        return self


class Tolerance(Table):
    """Bounds that a build must keep; each is on the worst picture.

    `original`: torch in FP32 against the original's numbers, largest difference, before lengths are made 1.
    `graph`: the FP32 graph against torch, the same.
    `half`, `cosine`: what is served, in FP16, against torch; `half` in units of the vectors' root mean square.
    `rank`: how well both order pictures, and texts, by a bank of scores: least Spearman correlation.
    `reason`: why a bound is looser than usual.
    """

    original: Bound = 1e-4
    graph: Bound = 1e-4
    half: Bound = 3e-2
    cosine: Annotated[float, Field(gt=0, le=1)] = 0.9999
    rank: Annotated[float, Field(gt=0, le=1)] = 0.99
    reason: str = ""


class EncoderFile(Table):
    """Everything the build knows of one encoder.

    `evidence`: `published` where the format was seen, `inferred` where it follows from the authors' code, `assumed`
    where nothing is public. `parity` names the folder of parity/ that holds what the original computes, and
    `parity_preprocessing` which of its prepared pictures is this encoder's, `none` where it has none.
    """

    schema_version: Literal[1]
    name: Slug
    title: str
    licence: str
    modalities: tuple[str, ...] = ()
    evidence: Literal["published", "inferred", "assumed"] = "published"
    parity: str | None = None
    parity_preprocessing: str = "main"
    published: Published | None = None
    checkpoint: Checkpoint
    parts: Parts | None = None
    architecture: Architecture
    text: Text | None = None
    wording: Wording | None = None
    input: Input
    preprocessing: Preprocessing
    output: Output
    serving: Serving = Serving()
    tolerance: Tolerance = Tolerance()

    @classmethod
    def load(cls, name: str) -> EncoderFile:
        """The encoder of that name; raises Misconfigured when there is none or its file does not say all it must."""
        if name not in names():
            raise Misconfigured(f"there is no encoder {name!r}; there are: {', '.join(names())}")
        path = SHELF / "encoders" / f"{name}.toml"
        encoder = cls.read(path)
        if encoder.name != name:  # a copy that kept it would be published over the one that it was copied from
            raise Misconfigured(f'{path} describes {encoder.name!r}: write name = "{name}", or call the file otherwise')
        return encoder

    @classmethod
    def read(cls, path: Path) -> EncoderFile:
        """The encoder in a file; raises Misconfigured when it does not say all it must."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise Misconfigured(f"{path}: {error}") from None

    @property
    def served_by(self) -> str:
        """Whether the line can use the engine, or only a caller of Triton; in words for a person."""
        if isinstance(self.architecture, VisionFmDecoder):
            return "Triton alone: it gives masks, and the line scores vectors"
        return self.input.served_by

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint lies; raises Misconfigured when the repository does not hold it."""
        if self.checkpoint.file is None:
            where = f": {self.published.where}" if self.published else ""
            raise Misconfigured(
                f"the weights of {self.name} are not ours to ship{where}; name a file of yours: --checkpoint FILE, or "
                "CHECKPOINT=FILE with make"
            )
        return SHELF / self.checkpoint.file

    def digest(self) -> Digest:
        """The identity with the checkpoint that lies in the repository; every result names it."""
        return self.identity(Digest(hashlib.sha256(self.checkpoint_path.read_bytes()).hexdigest()))

    def identity(self, file: Digest) -> Digest:
        """The encoder's digest in engines, heads and results, from the sha256 of its file: that, and the part of it."""
        return file if self.checkpoint.part is None else digest("part of a file", file, self.checkpoint.part)


def names() -> list[str]:
    """Every encoder there is a TOML for."""
    return sorted(path.stem for path in (SHELF / "encoders").glob("*.toml"))
