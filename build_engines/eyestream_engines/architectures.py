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

    `patch` and `width` in pixels and channels; `position_grids`: sides that the published table of positions may have,
    in patches, where it is not the input's (it is then resampled bicubically, without antialiasing);
    `class_position`: whether the class token has a row in that table; `registers`: tokens between it and the patches.
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
    position_grids: tuple[Positive, ...] = ()
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


class Flair(Table):
    """FLAIR: torchvision's ResNet-50, a projection between two normalisations, and BERT beside it."""

    family: Literal["flair"]
    vocabulary: Positive


class Clip(Table):
    """A CLIP: OpenAI's vision transformer, and either OpenAI's text transformer or a BERT.

    `patch`, `width`, `depth`, `heads` are the picture's side; `vocabulary` and `context` the text's, which is always
    of BERT's base size, or 512 wide with 8 heads and 12 layers. `eyes`: three text heads, of two linear layers each,
    and three maps of pictures, for the patient and for each eye; otherwise one matrix projects texts.
    """

    family: Literal["clip"]
    patch: Positive
    width: Positive
    depth: Positive
    heads: Positive
    text: Literal["bert", "openai"]
    vocabulary: Positive
    context: Positive
    eyes: bool = False


class Octcube(Table):
    """OCTCube's transformers of volumes and en-face pictures, whose last residual is left out; always ViT-L.

    `tower`: which side of the file the engine is made of. `volume` pools the patches, and with `aggregate` projects
    the mean; `enface` projects the mean, with a `modality` through the head that modality has.
    `file`: what else the checkpoint holds; `mae` its decoder, `classifier` a head of `classes` logits, `ir` an en-face
    tower, `ef` that tower with heads for two kinds of picture, and perhaps the regression behind all three.
    `table_grid` and `table_scans`: patches along each side, and in depth, of the published tables of positions, where
    they are not the input's: the first is resampled bicubically, the second linearly, or cut to its middle.
    `volume` (B-scans, height, width) and `enface` (side): what the towers of the file read that this engine is not.
    """

    family: Literal["octcube"]
    tower: Literal["volume", "enface"] = "volume"
    file: Literal["mae", "classifier", "ir", "ef"]
    modality: Annotated[int, Field(ge=0, le=1)] | None = None
    width: Positive = 1024
    depth: Positive = 24
    heads: Positive = 16
    patch: Positive = 16
    scans_in_patch: Positive = 3
    table_grid: Positive | None = None
    table_scans: Positive | None = None
    time: Literal["interpolate", "crop"] = "interpolate"
    volume: tuple[Positive, Positive, Positive] | None = None
    enface: Positive | None = None
    classes: Positive | None = None


class VisionUnite(Table):
    """VisionUnite's eyes: EVA02-B at 448 and CLIP ViT-L at 224 of the same picture, added, adapted, six signs read."""

    family: Literal["visionunite"]


class RetinaVlm(Table):
    """RetinaVLM's eye: a ResNet-50 of one grey channel and its projection to 36 tokens of a language model.

    `output`: `tokens`, or `pooled` for the mean of the feature map before the projection.
    """

    family: Literal["retinavlm"]
    output: Literal["tokens", "pooled"]


class RetFiner(Table):
    """RetFiner's picture side, and of one's own refinement the text side and the heads of the losses.

    `tokens`: what its losses saw: `projected` proj(norm(tokens)), `normed` norm(tokens), `raw` as the blocks left them.
    `feature`: `probe` is what its authors probe linearly, `contrastive` the class token through the contrastive head,
    which only the file of one's own refinement holds, with a BERT of `vocabulary` tokens.
    """

    family: Literal["retfiner"]
    width: Positive
    depth: Positive
    heads: Positive
    patch: Positive
    tokens: Literal["projected", "normed", "raw"]
    feature: Literal["probe", "contrastive"] = "probe"
    vocabulary: Positive | None = None

    @model_validator(mode="after")
    def _texts_have_words(self) -> Self:
        if (self.feature == "contrastive") != (self.vocabulary is not None):
            raise ValueError("a file with texts, and no other, has a vocabulary")
        return self


class VisionFmDecoder(Table):
    """VisionFM's plain vision transformer, and behind it the decoder of masks that its authors train on it.

    `width`, `depth`, `heads`, `patch`, `position_grids`: the encoder's, as of a `vit`.
    `classes`: of the masks; one is a probability by itself, several exclude each other.
    """

    family: Literal["visionfm-decoder"]
    width: Positive
    depth: Literal[12, 24]
    heads: Positive
    patch: Literal[16]
    position_grids: tuple[Positive, ...] = ()
    classes: Positive


Architecture = Annotated[
    Demo | Vit | Flair | Clip | Octcube | VisionUnite | RetinaVlm | RetFiner | VisionFmDecoder,
    Field(discriminator="family"),
]
