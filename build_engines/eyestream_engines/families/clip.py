"""CLIPs of the retina: RET-CLIP, ViLReF, ReVision as assumed, EyeCLIP. Knows no tokenizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from eyestream.scoring import ViewName
from eyestream_engines.architectures import Clip
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks import bert, clip
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile
from eyestream_engines.texts.towers import Towers, unit

VISUAL, BERT = "visual.", "bert."
SUFFIXES: Final[Mapping[ViewName, str]] = {"patient": "", "left": "_left", "right": "_right"}
"""How the names of the three text heads and scales end."""


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """Both sides are used: prototypes are made from the text's."""
    keys = {**asks(empty(lambda: _visual(encoder)), VISUAL), "logit_scale": Expected(())}
    facts = _facts(encoder)
    if facts.text == "openai":
        return keys | asks(empty(lambda: clip.TextTransformer(_text(encoder))))
    keys |= asks(empty(lambda: bert.Bert(bert.Shape(facts.vocabulary))), BERT)
    if not facts.eyes:
        return keys | {"text_projection": Expected((768, encoder.output.dim))}
    for suffix in SUFFIXES.values():
        keys |= asks(empty(lambda: _projection(encoder)), f"text_projection{suffix}.")
        keys[f"logit_scale{suffix}"] = Expected(())
    return keys | {f"{name}.weight": Expected(shape) for name, shape in _maps(encoder).items()}


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """The projected class token; with `eyes` it is not yet in the texts' space, the views' maps take it there."""
    return filled(empty(lambda: _visual(encoder)), weights, VISUAL)


def maps(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> dict[ViewName, Tensor]:
    """With `eyes`: what each view does to one picture's vector, [dim, dim].

    The patient's map reads the left eye's vector and the right one's; a single picture stands for both.
    """
    if not _facts(encoder).eyes:
        return {}
    left, right = patient(weights)
    return {
        "patient": left + right,
        "left": weights["left_feature_mapping.weight"].float(),
        "right": weights["right_feature_mapping.weight"].float(),
    }


def patient(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The two halves of the patient's map: for the left eye's vector, and for the right one's."""
    left, right = weights["global_feature_mapping.weight"].float().chunk(2, dim=1)
    return left, right


def texts(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> Towers:
    """One tower, or with `eyes` three on one BERT; each with the checkpoint's own scale."""
    facts = _facts(encoder)
    if facts.text == "openai":
        towers: dict[ViewName, nn.Module] = {"any": OpenAiWords(encoder, weights)}
    else:
        body = filled(empty(lambda: bert.Bert(bert.Shape(facts.vocabulary))), weights, BERT)
        if facts.eyes:
            towers = {
                view: BertWords(body, filled(empty(lambda: _projection(encoder)), weights, f"text_projection{suffix}."))
                for view, suffix in SUFFIXES.items()
            }
        else:
            towers = {"any": BertWords(body, _Matrix(weights["text_projection"].float()))}
    scales = {view: math.exp(float(weights[f"logit_scale{SUFFIXES.get(view, '')}"])) for view in towers}
    return Towers(towers, scales)


class BertWords(nn.Module):
    """The class token of a BERT, projected."""

    def __init__(self, body: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.body, self.projection = body, projection

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors [n, dim], whatever the padding."""
        return unit(self.projection(self.body(ids, mask)[-1][:, 0]))


class OpenAiWords(nn.Module):
    """CLIP's own text transformer; it needs no mask, for nothing looks ahead."""

    def __init__(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = filled(empty(lambda: clip.TextTransformer(_text(encoder))), weights)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 - towers are called alike
        """Unit vectors [n, dim], whatever the padding."""
        return unit(self.body(ids))


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """Whatever the case stored: the picture's side as it is, normalised, and through every map; texts; their logits."""
    with torch.inference_mode():
        read = _pictures(encoder, weights, case) | _texts(encoder, weights, case)
        scales = texts(encoder, weights).scales
        for view in scales:
            suffix = SUFFIXES.get(view, "")
            pictures, words = read[f"image_embedding{suffix}"], read[f"text_embedding{suffix}"]
            read[f"logits{suffix}"] = scales[view] * pictures @ words.T
        first = next(iter(scales.values()))
        read["logits_padded"] = first * read["image_embedding"] @ read["text_embedding_padded"].T
        read["logits_100"] = 100 * read["image_embedding"] @ read["text_embedding"].T
        if "image_embedding_pair" in read:
            read["logits_pair"] = first * read["image_embedding_pair"] @ read["text_embedding"].T
    return {name: tensor.numpy() for name, tensor in read.items()}


def _pictures(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> dict[str, Tensor]:
    visual = module(encoder, weights)
    assert isinstance(visual, clip.VisionTransformer)
    token = visual.class_token(torch.from_numpy(case.pictures()))
    raw = token @ visual.proj
    if not _facts(encoder).eyes:
        return {"image_cls": token, "image_embedding_raw": raw, "image_embedding": unit(raw)}
    found = {"image_backbone": raw}
    for view, matrix in maps(encoder, weights).items():
        found[f"image_embedding{SUFFIXES[view]}"] = unit(raw @ matrix.T)
    left, right = patient(weights)
    other = raw.roll(-1, dims=0)
    found["image_embedding_pair"] = unit(raw @ left.T + other @ right.T)
    found["image_embedding_pair_left"] = found["image_embedding_left"]
    found["image_embedding_pair_right"] = found["image_embedding_right"].roll(-1, dims=0)
    return found


def _texts(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> dict[str, Tensor]:
    openai = _facts(encoder).text == "openai"
    marks = {"start": 49406, "end": 49407, "step": 18} if openai else {"start": 101, "end": 102, "step": 20}
    towers = texts(encoder, weights).towers
    found: dict[str, Tensor] = {}
    for padded, (ids, mask) in zip(("", "_padded"), case.texts(**marks), strict=True):
        read, seen = torch.from_numpy(ids), torch.from_numpy(mask)
        for view, tower in towers.items():
            found[f"text_embedding{SUFFIXES.get(view, '')}{padded}"] = tower(read, seen)
        if openai:
            words = towers["any"]
            assert isinstance(words, OpenAiWords)
            found[f"text_embedding_raw{padded}"] = words.body(read)
    return found


class _Matrix(nn.Module):
    """A projection that is published as a matrix to be multiplied from the right."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def _facts(encoder: EncoderFile) -> Clip:
    assert isinstance(encoder.architecture, Clip)
    return encoder.architecture


def _visual(encoder: EncoderFile) -> nn.Module:
    facts = _facts(encoder)
    size = encoder.input.height
    shape = clip.Vision(size, facts.patch, facts.width, facts.depth, facts.heads, encoder.output.dim)
    return clip.VisionTransformer(shape)


def _text(encoder: EncoderFile) -> clip.Text:
    facts = _facts(encoder)
    return clip.Text(facts.vocabulary, facts.context, width=512, layers=12, heads=8, dim=encoder.output.dim)


def _projection(encoder: EncoderFile) -> nn.Module:
    return nn.Sequential(nn.Linear(768, 768), nn.ReLU(), nn.Linear(768, encoder.output.dim))


def _maps(encoder: EncoderFile) -> dict[str, tuple[int, int]]:
    dim = encoder.output.dim
    return {
        "global_feature_mapping": (dim, 2 * dim),
        "left_feature_mapping": (dim, dim),
        "right_feature_mapping": (dim, dim),
    }
