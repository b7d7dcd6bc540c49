"""One published encoder as its TOML describes it. Knows no network, no ONNX and no server."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eyestream.decoding.preprocessing import Preprocessing
from eyestream.errors import Misconfigured
from eyestream.records import Digest, Slug

SHELF: Final = Path(__file__).resolve().parents[1]
"""The folder that holds encoders/ and the checkpoints that lie in the repository."""

Positive = Annotated[int, Field(gt=0)]
Colour = tuple[float, float, float]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checkpoint(_Table):
    """The file the weights come from, relative to build_engines/."""

    format: Literal["safetensors"]
    file: str


class Text(_Table):
    """The folder of the encoder's text tower, relative to build_engines/."""

    folder: str


class Input(_Table):
    """Size in pixels, and the mean and deviation of channels scaled to 0..1, which the engine applies itself."""

    height: Positive
    width: Positive
    mean: Colour
    std: Colour


class Output(_Table):
    """Length of an embedding and, in words, how the network pools."""

    dim: Positive
    pooling: str


class Serving(_Table):
    """How Triton runs the engine: largest batch, how long it may wait to fill one, copies and threads of each."""

    max_batch: Positive
    preferred_batches: tuple[Positive, ...] = ()
    queue_delay_us: Annotated[int, Field(ge=0)]
    instances: Positive
    intra_op_threads: Positive


class Tolerance(_Table):
    """How far an exported graph may be from torch in FP32: least cosine, largest difference of one number."""

    cosine: Annotated[float, Field(gt=0, le=1)]
    absolute: Annotated[float, Field(gt=0)]


class EncoderFile(_Table):
    """Everything the build knows of one encoder."""

    schema_version: Literal[1]
    name: Slug
    title: str
    family: Literal["demo"]
    licence: str
    checkpoint: Checkpoint
    text: Text | None = None
    input: Input
    preprocessing: Preprocessing
    output: Output
    serving: Serving
    tolerance: Tolerance

    @classmethod
    def load(cls, name: str) -> EncoderFile:
        """The encoder of that name; raises Misconfigured when there is none or its file does not say all it must."""
        path = SHELF / "encoders" / f"{name}.toml"
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            known = sorted(file.stem for file in path.parent.glob("*.toml"))
            raise Misconfigured(f"there is no encoder {name!r}; there are: {', '.join(known)}") from None
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise Misconfigured(f"{path}: {error}") from None

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint lies."""
        return SHELF / self.checkpoint.file

    def digest(self) -> Digest:
        """sha256 of the checkpoint's file; every result names it."""
        return Digest(hashlib.sha256(self.checkpoint_path.read_bytes()).hexdigest())
