"""RetinaVLM's eye: OCT B-scans to a feature, or to the tokens its language model reads. Knows no language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from eyestream_engines.architectures import RetinaVlm
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks.resnet import pooled, resnet50
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile

BODY, PROJECTION = "visual_encoder.model.", "llama_proj."
CHANNELS: Final = 2048
WORDS: Final = 4096
"""Width of the language model."""


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:  # noqa: ARG001 - families are asked alike
    """The picture's side; the language model is left to its publisher."""
    return asks(empty(lambda: resnet50(1)), BODY) | asks(empty(_projection), PROJECTION)


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """Features [n, 2048], or [n, tokens x 4096] with one token after the other."""
    assert isinstance(encoder.architecture, RetinaVlm)
    network = Eye(weights)
    return network if encoder.architecture.output == "pooled" else Tokens(network)


class Eye(nn.Module):
    """The feature map of one grey channel, which is the first where there are three equal ones."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = filled(empty(lambda: resnet50(1)), weights, BODY)
        self.projection = filled(empty(_projection), weights, PROJECTION)

    def features(self, x: Tensor) -> Tensor:
        """[n, 1 or 3, h, w] -> [n, 2048, h / 32, w / 32]."""
        found: Tensor = self.body(x[:, :1])
        return found

    def tokens(self, features: Tensor) -> Tensor:
        """[n, places, 4096], each from 2048 numbers that lie together in memory, channel after channel.

        Other models take a place's channels for a token; here the map is only cut into pieces, and the projection was
        trained on those.
        """
        pieces = features.flatten(1).unflatten(1, (-1, CHANNELS))
        found: Tensor = self.projection(pieces)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The mean over places."""
        return pooled(self.features(x))


class Tokens(nn.Module):
    """The same eye, giving tokens."""

    def __init__(self, eye: Eye) -> None:
        super().__init__()
        self.eye = eye

    def forward(self, x: Tensor) -> Tensor:
        """[n, tokens x 4096]."""
        return self.eye.tokens(self.eye.features(x)).flatten(1)


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:  # noqa: ARG001
    """Tokens, and the mean of the feature map."""
    eye = Eye(weights)
    with torch.inference_mode():
        features = eye.features(torch.from_numpy(case.pictures()))
        return {"embedding": eye.tokens(features).numpy(), "pooled": pooled(features).numpy()}


def _projection() -> nn.Module:
    return nn.Linear(CHANNELS, WORDS)
