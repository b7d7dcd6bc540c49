"""FLAIR: ResNet-50 for pictures, BERT for texts, a projection for each. Knows no tokenizer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyestream_engines.architectures import Flair
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks import bert
from eyestream_engines.networks.resnet import pooled, resnet50
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile
from eyestream_engines.texts.towers import Towers, unit

PICTURE, TEXT = "vision_model.model.", "text_model.model."
PICTURE_HEAD, TEXT_HEAD = "vision_model.projection_head_vision.", "text_model.projection_head_text."
LAYERS = (1, 2, 12)
"""The hidden states whose mean is a text; the first layer is 1."""
LARGEST_SCALE = 4.6052
"""The logit scale's ceiling, as a logarithm."""


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """Both sides are used; BERT's pooler and its row of positions are not."""
    pooler = nn.ModuleDict({"dense": nn.Linear(768, 768)})
    return {
        "logit_scale": Expected(()),
        **asks(empty(resnet50), PICTURE),
        **asks(empty(lambda: _Head(2048, encoder.output.dim)), PICTURE_HEAD),
        **asks(empty(lambda: bert.Bert(_shape(encoder))), TEXT),
        **asks(empty(lambda: _Head(768, encoder.output.dim)), TEXT_HEAD),
        **asks(pooler, f"{TEXT}pooler.", use="ignored"),
        f"{TEXT}embeddings.position_ids": Expected(None, "ignored"),
    }


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """The picture's side up to its projection."""
    return Picture(encoder, weights)


class Picture(nn.Module):
    """The mean of the feature map, brought to length 1, projected without bias."""

    def __init__(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = filled(empty(resnet50), weights, PICTURE)
        self.head = filled(empty(lambda: _Head(2048, encoder.output.dim)), weights, PICTURE_HEAD)

    def pooled(self, x: Tensor) -> Tensor:
        """The 2048 numbers that the paper's linear probe reads."""
        return pooled(self.model(x))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, dim], of any length."""
        projected: Tensor = self.head(self.pooled(x))
        return projected


class Words(nn.Module):
    """The mean over three layers and over ALL places, padding included, projected like the picture."""

    def __init__(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = filled(empty(lambda: bert.Bert(_shape(encoder))), weights, TEXT)
        self.head = filled(empty(lambda: _Head(768, encoder.output.dim)), weights, TEXT_HEAD)

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The 768 numbers before the projection; they depend on how far the text was padded."""
        states = self.model(ids, mask)
        return torch.stack([states[layer].mean(dim=1) for layer in LAYERS]).mean(dim=0)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors [n, dim]."""
        return unit(self.head(self.pooled(ids, mask)))


def texts(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> Towers:
    """One tower; its scale has the ceiling that the authors' library gives it."""
    scale = math.exp(min(max(float(weights["logit_scale"]), 0.0), LARGEST_SCALE))
    return Towers({"any": Words(encoder, weights)}, {"any": scale})


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """Noise and blocks through the picture's side, texts through the other, as the authors multiply them."""
    picture, words = Picture(encoder, weights), Words(encoder, weights)
    scale = texts(encoder, weights).scales["any"]
    found: dict[str, Tensor] = {}
    with torch.inference_mode():
        for suffix, pixels in (("", torch.from_numpy(case.pictures())), ("_blocks", _blocks(case))):
            found[f"image_pooled{suffix}"] = picture.pooled(pixels)
            found[f"image_embedding{suffix}"] = unit(picture.head(found[f"image_pooled{suffix}"]))
        for suffix, (ids, mask) in zip(("", "_padded"), case.texts(start=101, end=102, step=5), strict=True):
            found[f"text_embedding{suffix}"] = words(torch.from_numpy(ids), torch.from_numpy(mask))
        ids, mask = next(case.texts(start=101, end=102, step=5))
        found["text_pooled"] = words.pooled(torch.from_numpy(ids), torch.from_numpy(mask))
        pictures = found["image_embedding"]
        found["class_prototype"] = found["text_embedding_padded"].mean(dim=0, keepdim=True)
        found["class_logits"] = scale * pictures @ found["class_prototype"].T
        for suffix in ("", "_padded"):
            found[f"logits{suffix}"] = scale * pictures @ found[f"text_embedding{suffix}"].T
        found["logits_blocks"] = scale * found["image_embedding_blocks"] @ found["text_embedding"].T
    return {name: tensor.numpy() for name, tensor in found.items()}


class _Head(nn.Module):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(functional.normalize(x, dim=-1))


def _shape(encoder: EncoderFile) -> bert.Shape:
    assert isinstance(encoder.architecture, Flair)
    return bert.Shape(encoder.architecture.vocabulary)


def _blocks(case: Case) -> Tensor:
    """Pictures of 8 by 8 even squares: after global pooling they differ more than noise does."""
    shape = case.facts["input"]["shape"]
    small = case.draw(9).standard_normal((*shape[:2], 8, 8)).astype(np.float32)
    return torch.from_numpy(small.repeat(shape[2] // 8, axis=2).repeat(shape[3] // 8, axis=3))
