"""The demo's own network as a family, so that it is checked, built and verified as a published encoder is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eyestream.errors import Misconfigured
from eyestream_engines.cases import Case
from eyestream_engines.demo.network import ImageTower
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.spec import EncoderFile

_UNTOUCHED = (1 / 255, 1 / 255, 1 / 255)
_TOWER = "image."
_COUNTERS = "num_batches_tracked"


class Network(nn.Module):
    """The image tower behind a normalisation that is not its own."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised [n, 3, height, width] -> [n, dim] of length 1."""
        vectors: Tensor = self.tower(pictures.permute(0, 2, 3, 1))
        return vectors


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """The image tower's keys; those of the text tower belong to `text.onnx`, and are not read."""
    state = _tower(encoder).state_dict()
    return {
        f"{_TOWER}{name}": Expected(tuple(value.shape)) for name, value in state.items() if not name.endswith(_COUNTERS)
    }


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """The image tower with these weights."""
    tower = _tower(encoder)
    given = {name.removeprefix(_TOWER): value for name, value in weights.items()}
    counters = {name: torch.zeros((), dtype=torch.int64) for name in tower.state_dict() if name.endswith(_COUNTERS)}
    tower.load_state_dict(given | counters)
    network = Network(tower)
    network.eval().requires_grad_(requires_grad=False)
    return network


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """Raises Misconfigured: this network is its own original."""
    raise Misconfigured(f"{encoder.name} has no original to compare with {len(weights)} weights of {case.name}")


def _tower(encoder: EncoderFile) -> ImageTower:
    return ImageTower(encoder.output.dim, (0.0, 0.0, 0.0), _UNTOUCHED)
