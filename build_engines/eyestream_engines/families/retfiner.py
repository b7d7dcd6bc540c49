"""RetFiner: refined encoders of OCT B-scans and, where one refined oneself, the text side. Knows no tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from eyestream_engines.architectures import RetFiner
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks import bert
from eyestream_engines.networks.weights import asks, empty, filled
from eyestream_engines.spec import EncoderFile
from eyestream_engines.texts.towers import Towers, unit

EPSILON: Final = 1e-6
WORDS: Final = 768
"""Width of the text side."""
TEMPERATURE: Final = 0.07
"""A constant: upstream declares a parameter, but training never reaches it."""
VISION, TEXT, MATCH = "vision_encoder.", "multimodal_encoder.bert.", "itm_head."
PICTURE_HEAD, TEXT_HEAD = "contra_head_v.", "contra_head_t."


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """The published file is the picture's side alone; one's own holds both sides and the heads of the losses."""
    facts = _facts(encoder)
    prefix = _prefix(encoder)
    keys = dict(asks(empty(lambda: _vision(encoder)), prefix))
    if facts.tokens == "projected":
        keys |= asks(empty(lambda: nn.Linear(facts.width, WORDS)), f"{prefix}proj.")
    if facts.tokens != "normed":
        keys |= {f"{prefix}head.{leaf}": Expected(None, "ignored") for leaf in ("weight", "bias")}
    if facts.feature == "contrastive":
        keys |= asks(empty(lambda: bert.Bert(_text(encoder))), TEXT)
        keys |= asks(empty(lambda: _Head(encoder.output.dim)), PICTURE_HEAD)
        keys |= asks(empty(lambda: _Head(encoder.output.dim)), TEXT_HEAD)
        keys |= asks(empty(Match), MATCH)
    return keys


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """What the authors probe, or the class token in the space of texts."""
    return Eye(encoder, weights)


class Eye(nn.Module):
    """The picture's side."""

    def __init__(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        facts = self.facts = _facts(encoder)
        self.vision = filled(empty(lambda: _vision(encoder)), weights, _prefix(encoder))
        projected = facts.tokens == "projected"
        own = f"{_prefix(encoder)}proj."
        self.proj = filled(empty(lambda: nn.Linear(facts.width, WORDS)), weights, own) if projected else nn.Identity()
        contrastive = facts.feature == "contrastive"
        self.head = filled(empty(lambda: _Head(encoder.output.dim)), weights, PICTURE_HEAD) if contrastive else None

    def raw(self, x: Tensor) -> Tensor:
        """Tokens [n, 1 + patches, width] as the last block left them, class token first."""
        tokens: Tensor = self.vision._pos_embed(self.vision.patch_embed(x))  # noqa: SLF001 - timm has no other door
        return self.vision.blocks(tokens)

    def refined(self, raw: Tensor) -> Tensor:
        """The tokens as the losses saw them, [n, 1 + patches, 768]."""
        return raw if self.facts.tokens == "raw" else self.proj(self.vision.norm(raw))

    def probed(self, raw: Tensor) -> Tensor:
        """What the authors probe: class token and patches' mean, in an order that depends on what was refined."""
        if self.facts.tokens == "normed":
            tokens = self.vision.norm(raw)
            return torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
        joined = torch.cat([raw[:, 1:].mean(dim=1), raw[:, 0]], dim=1)
        return functional.layer_norm(joined, joined.shape[-1:], eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, dim]."""
        raw = self.raw(x)
        return self.probed(raw) if self.head is None else self.head(self.refined(raw)[:, 0])


class Words(nn.Module):
    """The text's side, which does not look at the picture: BERT's class token, projected."""

    def __init__(self, encoder: EncoderFile, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = filled(empty(lambda: bert.Bert(_text(encoder))), weights, TEXT)
        self.head = filled(empty(lambda: _Head(encoder.output.dim)), weights, TEXT_HEAD)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors [n, dim], whatever the padding."""
        return unit(self.head(self.body(ids, mask)[-1][:, 0]))


class Match(nn.Module):
    """Whether a text fits a picture: from the class token of a BERT that looks at the picture's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(WORDS, WORDS)
        self.layernorm = nn.LayerNorm(WORDS, eps=bert.EPSILON)
        self.linear2 = nn.Linear(WORDS, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 768] -> logits [n, 2], the second for a match."""
        logits: Tensor = self.linear2(self.layernorm(functional.gelu(self.linear1(x))))
        return logits


def texts(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> Towers:
    """One tower with a constant scale; only one's own refinement has it."""
    return Towers({"any": Words(encoder, weights)}, {"any": 1 / TEMPERATURE})


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """The refined tokens and what is probed; of one's own refinement also texts, and every match of both."""
    eye = Eye(encoder, weights)
    with torch.inference_mode():
        raw = eye.raw(torch.from_numpy(case.pictures()))
        refined = eye.refined(raw)
        if eye.head is None:
            found = {"image_embedding": eye.probed(raw), "refine_cls": refined[:, 0]}
            found["refine_patch_mean"] = refined[:, 1:].mean(dim=1)
            found["refine_tokens_sample"] = refined[:, (0, 1, 98, 196), :64].flatten(1)
        else:
            found = {"image_cls": refined[:, 0], "image_embedding": unit(eye.head(refined[:, 0]))}
            found |= _texts(encoder, weights, case, found["image_embedding"], refined)
    return {name: tensor.numpy() for name, tensor in found.items()}


def _texts(
    encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case, pictures: Tensor, tokens: Tensor
) -> dict[str, Tensor]:
    words, match = Words(encoder, weights), filled(empty(Match), weights, MATCH)
    read = [(torch.from_numpy(ids), torch.from_numpy(mask)) for ids, mask in case.texts(start=101, end=102, step=6)]
    found = {}
    for suffix, (ids, mask) in zip(("", "_padded"), read, strict=True):
        found[f"text_embedding{suffix}"] = words(ids, mask)
        found[f"logits{suffix}"] = pictures @ found[f"text_embedding{suffix}"].T / TEMPERATURE
    ids, mask = read[0]
    looked = [words.body(ids, mask, seen.expand(len(ids), -1, -1))[-1][:, 0] for seen in tokens]
    found["itm_logits"] = torch.stack([match(classes) for classes in looked]).flatten(1)
    return found


class _Head(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(WORDS, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def _facts(encoder: EncoderFile) -> RetFiner:
    assert isinstance(encoder.architecture, RetFiner)
    return encoder.architecture


def _prefix(encoder: EncoderFile) -> str:
    return VISION if _facts(encoder).feature == "contrastive" else ""


def _text(encoder: EncoderFile) -> bert.Shape:
    return bert.Shape(_facts(encoder).vocabulary or 0, crossed=True)


def _vision(encoder: EncoderFile) -> nn.Module:
    facts = _facts(encoder)
    return VisionTransformer(
        img_size=encoder.input.height,
        patch_size=facts.patch,
        num_classes=0,
        global_pool="",
        embed_dim=facts.width,
        depth=facts.depth,
        num_heads=facts.heads,
        norm_layer=partial(nn.LayerNorm, eps=EPSILON),
        weight_init="skip",
    )
