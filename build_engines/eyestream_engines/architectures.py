"""What each family of networks must be told of one of its members. Knows no weights and no torch.

Adding a family: a class here with `family: Literal["its-name"]`, its name in `Architecture`, and a module of the same
name in `eyestream_engines.families`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]


class Table(BaseModel):
    """One table of an encoder's TOML: unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Demo(Table):
    """The demo's own network; its sizes are in its code."""

    family: Literal["demo"]


Pooling = Literal[
    "class",
    "patch-mean",
    "patch-mean-layernorm",
    "token-mean",
    "raw-patch-mean-norm",
    "raw-patch-mean-and-class-layernorm",
    "class-and-patch-mean",
    "last-four-classes",
]


class Vit(Table):
    """A plain vision transformer, pre-norm, LayerNorm epsilon 1e-6, exact GELU, as timm builds it.

    `patch` and `width` in pixels and channels; `position_grid`: side of the published table of positions in patches,
    where it is not the input's (it is then resampled bicubically, without antialiasing); `class_position`: whether the
    class token has a row in that table; `registers`: tokens between the class token and the patches.
    `lora_alpha`: low-rank adapters beside every linear layer of the blocks, merged at loading with alpha / rank.
    `classifier`: what a fine-tuned file holds behind the embedding.

    `pooling`, with "norm" the file's own final LayerNorm and "layernorm" one without numbers:
      `class`                               norm, class token
      `patch-mean`                          norm, mean of the patches
      `patch-mean-layernorm`                norm, mean of the patches, layernorm
      `token-mean`                          norm, mean of all tokens
      `raw-patch-mean-norm`                 mean of the patches, then `fc_norm`, or layernorm where the file has none
      `raw-patch-mean-and-class-layernorm`  layernorm over [mean of the patches, class token]
      `class-and-patch-mean`                norm, [class token, mean of the patches]
      `last-four-classes`                   the class tokens of the last four blocks, each after norm, oldest first
    """

    family: Literal["vit"]
    width: Positive
    depth: Positive
    heads: Positive
    patch: Positive
    position_grid: Positive | None = None
    class_position: bool = True
    registers: Annotated[int, Field(ge=0)] = 0
    layer_scale: bool = False
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    pooling: Pooling
    classifier: Literal["linear", "batchnorm-mlp"] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")
        if self.pooling == "last-four-classes" and self.depth < 4:  # noqa: PLR2004
            raise ValueError("last-four-classes needs four blocks")
        return self


Architecture = Annotated[Demo | Vit, Field(discriminator="family")]
