"""OCTCube and its companions for en-face pictures: features, diseases, similarities. Knows formats, not files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyestream.errors import Misconfigured
from eyestream_engines.architectures import Octcube
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks.octcube import EPSILON, PictureTransformer, Trunk, Volume, VolumeTransformer
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile
from eyestream_engines.texts.towers import unit

VISUAL, ENFACE, REGRESSION = "visual.", "text.", "classification_head."
"""What names begin with in files of several towers; upstream calls the en-face tower text."""
MODALITIES: Final = ("ir", "faf")
_TABLES: Final = ("pos_embed_spatial", "pos_embed_temporal")


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """Every key of the file, whichever tower the engine is made of."""
    facts = _facts(encoder)
    if facts.file in {"mae", "classifier"}:
        keys = _of_tables(asks(empty(lambda: _volume(encoder))), encoder)
        keys |= asks(empty(lambda: nn.LayerNorm(facts.width)), "norm.", use="ignored")
        if facts.classes is not None:
            keys |= asks(empty(lambda: nn.Linear(facts.width, facts.classes or 0)), "head.")
        return keys
    keys = {"logit_scale": Expected((), "optional"), **asks(empty(lambda: VolumeFeature(encoder)), VISUAL)}
    keys |= asks(empty(lambda: EnfaceFeature(encoder)), ENFACE)
    if facts.file == "ef":
        keys |= {f"logit_scale{pair}": Expected((), "optional") for pair in (1, 2)}
        keys |= asks(empty(lambda: Regression(encoder)), REGRESSION, use="optional")
    return keys


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """The tower that the TOML names: volumes or en-face pictures -> features [n, dim]."""
    facts = _facts(encoder)
    if facts.file in {"mae", "classifier"}:
        return PatchMean(filled(empty(lambda: _volume(encoder)), _fitted(encoder, weights)))
    if facts.tower == "volume":
        return filled(empty(lambda: VolumeFeature(encoder)), weights, VISUAL)
    network = filled(empty(lambda: EnfaceFeature(encoder)), weights, ENFACE)
    assert isinstance(network, EnfaceFeature)
    network.modality = facts.modality or 0
    return network


class PatchMean(nn.Module):
    """The mean of the last branch over the patches, the class token left out and nothing normed."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        """Volumes -> [n, width]."""
        tokens: Tensor = self.trunk(x)
        return tokens[:, 1:].mean(dim=1)


class VolumeFeature(VolumeTransformer):
    """The volume's side of a file with two sides: the patches' mean, normed, mixed, normed and projected."""

    def __init__(self, encoder: EncoderFile) -> None:
        facts = _facts(encoder)
        super().__init__(_trunk(facts), _volume_of(encoder))
        self.norm = nn.LayerNorm(facts.width, eps=EPSILON)
        self.fc_aggregate_cls = nn.Linear(facts.width, facts.width)
        self.aggregate_cls_norm = nn.LayerNorm(facts.width, eps=EPSILON)
        self.head = nn.Linear(facts.width, encoder.output.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Volumes -> [n, dim]."""
        pooled = self.norm(super().forward(x)[:, 1:].mean(dim=1))
        feature: Tensor = self.head(functional.gelu(self.aggregate_cls_norm(self.fc_aggregate_cls(pooled))))
        return feature


class EnfaceFeature(PictureTransformer):
    """The en-face side: the patches' mean, normed and projected; for two modalities through a head of each."""

    modality = 0

    def __init__(self, encoder: EncoderFile) -> None:
        facts = _facts(encoder)
        super().__init__(_trunk(facts), facts.enface or encoder.input.height)
        several = facts.file == "ef"
        self.fc_norm = nn.LayerNorm(facts.width, eps=EPSILON)
        self.head = nn.Linear(facts.width, facts.width if several else encoder.output.dim)
        if several:
            self.mod_head_0 = nn.Linear(facts.width, encoder.output.dim)
            self.mod_head_1 = nn.Linear(facts.width, encoder.output.dim)
        self.several = several

    def forward(self, x: Tensor) -> Tensor:
        """En-face pictures -> [n, dim]."""
        feature: Tensor = self.head(self.fc_norm(super().forward(x)[:, 1:].mean(dim=1)))
        if not self.several:
            return feature
        head = self.mod_head_1 if self.modality else self.mod_head_0
        projected: Tensor = head(functional.gelu(feature))
        return projected


class Regression(nn.Module):
    """OCTCube-EF's numbers from three features, each of length 1; a kind of picture that is missing is all zeros."""

    def __init__(self, encoder: EncoderFile) -> None:
        super().__init__()
        dim = encoder.output.dim
        self.input_norm = nn.LayerNorm(3 * dim)
        self.fc1 = nn.Linear(3 * dim, dim)
        self.fc2 = nn.Linear(dim, 2)

    def forward(self, features: Tensor) -> Tensor:
        """[n, 3 dim] -> baseline area and growth rate [n, 2], as z-scores of the cohort it was trained on."""
        numbers: Tensor = self.fc2(functional.gelu(self.fc1(self.input_norm(features))))
        return numbers


def classifier(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Linear | None:
    """Behind a classifier's feature: pairs of logits, against and for each disease; None without one."""
    facts = _facts(encoder)
    if facts.classes is None:
        return None
    head = filled(empty(lambda: nn.Linear(facts.width, facts.classes or 0)), weights, "head.")
    assert isinstance(head, nn.Linear)
    return head


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """All that the case stored, whichever tower the engine is made of."""
    with torch.inference_mode():
        several = _facts(encoder).file in {"ir", "ef"}
        found = _sides(encoder, weights, case) if several else _feature(encoder, weights, case)
    return {name: tensor.numpy() for name, tensor in found.items()}


def _feature(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    tokens = _tokens(encoder, weights, case)
    found["embedding"] = tokens[:, 1:].mean(dim=1)
    if "tokens_at" in (stored := case.expected()):
        found["tokens_at"] = torch.from_numpy(stored["tokens_at"])
        found["tokens"] = tokens[:, found["tokens_at"]]
    if head := classifier(encoder, weights):
        found["logits"] = head(found["embedding"])
        found["probability"] = _pairs(found["logits"])
    if "probability_cropped" in stored and head:
        facts = _facts(encoder).model_copy(update={"time": "crop"})
        cropped = _tokens(encoder.model_copy(update={"architecture": facts}), weights, case)
        found["probability_cropped"] = _pairs(head(cropped[:, 1:].mean(dim=1)))
    return found


def _tokens(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Tensor:
    """One volume after the other: the tokens of one fill a machine's memory well enough."""
    network = module(encoder, weights)
    assert isinstance(network, PatchMean)
    return torch.cat([network.trunk(volume[None]) for volume in torch.from_numpy(case.pictures())])


def _sides(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> dict[str, Tensor]:
    volume = filled(empty(lambda: VolumeFeature(encoder)), weights, VISUAL)
    enface = filled(empty(lambda: EnfaceFeature(encoder)), weights, ENFACE)
    assert isinstance(enface, EnfaceFeature)
    inputs = {name: torch.from_numpy(array) for name, array in case.inputs().items()}
    found = {"oct": unit(torch.cat([volume(one[None]) for one in inputs["oct"]]))}
    for enface.modality, name in enumerate(MODALITIES):
        if name in inputs:
            found[name] = unit(enface(inputs[name]))
    if _facts(encoder).file == "ir":
        similarity = weights["logit_scale"].float().exp() * found["oct"] @ found["ir"].T
        return {"embedding": found["oct"], "embedding_ir": found["ir"], "similarity": similarity}
    joined = torch.cat([found["oct"], *(found[name] for name in MODALITIES)], dim=1)
    regression = filled(empty(lambda: Regression(encoder)), weights, REGRESSION)
    return {"embedding": joined, "prediction": regression(joined)}


def _pairs(logits: Tensor) -> Tensor:
    return logits.unflatten(1, (-1, 2)).softmax(dim=2)[:, :, 1]


def _fitted(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with both tables of positions brought to the input's size, as the authors do."""
    facts, size = _facts(encoder), _volume_of(encoder)
    fitted = {name: value for name, value in weights.items() if name not in _TABLES}
    place, time = (weights[name].float() for name in _TABLES)
    rows, columns = size.height // facts.patch, size.width // facts.patch
    if place.shape[1] != rows * columns:
        side = math.isqrt(place.shape[1])
        grid = place.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
        place = grid.permute(0, 2, 3, 1).flatten(1, 2)
    if (wanted := size.frames // size.depth) != time.shape[1]:
        time = _cut(time, wanted) if facts.time == "crop" else _stretched(time, wanted)
    return fitted | dict(zip(_TABLES, (place, time), strict=True))


def _cut(table: Tensor, wanted: int) -> Tensor:
    if wanted > table.shape[1]:
        raise Misconfigured(f"a table of {table.shape[1]} depths cannot be cut to {wanted}")
    start = (table.shape[1] - wanted) // 2
    return table[:, start : start + wanted]


def _stretched(table: Tensor, wanted: int) -> Tensor:
    return functional.interpolate(table.transpose(1, 2), wanted, mode="linear", align_corners=False).transpose(1, 2)


def _of_tables(keys: dict[str, Expected], encoder: EncoderFile) -> dict[str, Expected]:
    """The published sizes of both tables of positions."""
    facts = _facts(encoder)
    published = {
        "pos_embed_spatial": None if facts.table_grid is None else facts.table_grid**2,
        "pos_embed_temporal": facts.table_scans,
    }
    for name, rows in published.items():
        if rows is not None:
            keys[name] = replace(keys[name], shape=(1, rows, facts.width))
    return keys


def _facts(encoder: EncoderFile) -> Octcube:
    assert isinstance(encoder.architecture, Octcube)
    return encoder.architecture


def _trunk(facts: Octcube) -> Trunk:
    return Trunk(facts.width, facts.depth, facts.heads, facts.patch)


def _volume(encoder: EncoderFile) -> VolumeTransformer:
    return VolumeTransformer(_trunk(_facts(encoder)), _volume_of(encoder))


def _volume_of(encoder: EncoderFile) -> Volume:
    facts, read = _facts(encoder), encoder.input
    if facts.volume is not None:
        frames, height, width = facts.volume
    else:
        frames, height, width = read.frames or 0, read.height, read.width
    if not frames or frames % facts.scans_in_patch or height % facts.patch or width % facts.patch:
        raise Misconfigured(f"{encoder.name}: a volume of {frames} B-scans of {height} by {width} has no whole patches")
    return Volume(frames, height, width, facts.scans_in_patch)
