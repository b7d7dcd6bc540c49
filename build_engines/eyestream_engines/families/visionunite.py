"""VisionUnite's eyes: two vision transformers of one picture, and six signs. Knows no language model.

The published file also holds a language model, CLIP's text side and what only training needs; none of it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks import clip
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile
from eyestream_engines.texts.towers import unit

SIGNS: Final = ("other", "haemorrhage-exudation", "cup-disc", "boundary-colour", "macular", "vascular")
"""In the order of the heads; `other` is abnormal without any of the named."""
EVA, CLIP, ADAPTER = "eva02.model.", "clip.visual.", "adapter."
WIDTH: Final = 768
TOKEN: Final = 4096
"""Width of the language model: what the adapter gives, then two logits of every sign."""
ADAPTED: Final = TOKEN - 2 * len(SIGNS)
_CLIP: Final = clip.Vision(size=224, patch=14, width=1024, layers=24, heads=16, dim=WIDTH)


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:  # noqa: ARG001 - families are asked alike
    """Both transformers, the adapter and the signs."""
    keys = asks(empty(_eva), EVA) | asks(empty(lambda: clip.VisionTransformer(_CLIP)), CLIP)
    keys |= asks(empty(_adapter), ADAPTER)
    for place in range(len(SIGNS)):
        keys |= asks(empty(_sign), f"abnormal{place + 1}.")
    return keys


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:  # noqa: ARG001
    """Pictures [n, 3, 448, 448] -> the visual token [n, 4096], whose last twelve numbers are the signs' logits."""
    return Eyes(weights)


class Eyes(nn.Module):
    """EVA02 at 448 and CLIP at 224, of the same numbers; CLIP's vector is of length 1 before they are added."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Made in memory: its table of rotations is computed, not stored.
        self.eva = filled(_eva(), weights, EVA)
        self.clip = filled(empty(lambda: clip.VisionTransformer(_CLIP)), weights, CLIP)
        self.adapter = filled(empty(_adapter), weights, ADAPTER)
        signs = [filled(empty(_sign), weights, f"abnormal{place + 1}.") for place in range(len(SIGNS))]
        self.signs = nn.ModuleList(signs)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both transformers' vectors, [n, 768] each. Half the size without antialiasing is the mean of four pixels."""
        return self.eva(x), unit(self.clip(functional.avg_pool2d(x, 2)))

    def token(self, pooled: Tensor) -> Tensor:
        """The sum of both [n, 768] -> [n, 4096]."""
        adapted = self.adapter(pooled)
        return torch.cat([adapted, *(sign(adapted) for sign in self.signs)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, 448, 448] -> [n, 4096]."""
        eva, other = self.halves(x)
        return self.token(eva + other)


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:  # noqa: ARG001
    """The token, what it is made of, and the signs' probabilities, against and for."""
    eyes = Eyes(weights)
    with torch.inference_mode():
        eva, other = eyes.halves(torch.from_numpy(case.pictures()))
        token = eyes.token(eva + other)
        signs = token[:, ADAPTED:].unflatten(1, (len(SIGNS), 2)).softmax(dim=2)
        found = {"embedding": token, "signs": signs, "pooled": eva + other, "eva02": eva, "clip": other}
    return {name: tensor.numpy() for name, tensor in found.items()}


def _eva() -> nn.Module:
    import timm

    return cast("nn.Module", timm.create_model("eva02_base_patch14_448", num_classes=0))


def _adapter() -> nn.Module:
    return nn.Linear(WIDTH, ADAPTED)


def _sign() -> nn.Module:
    return nn.Linear(ADAPTED, 2)
