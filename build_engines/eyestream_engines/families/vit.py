"""Plain vision transformers: RETFound and its kin, VisionFM, UrFound, DINORET. Knows formats, not files.

The network is timm's, which computes what the authors' code computes; what differs between publications is where the
positions come from, what is merged into the weights, and how tokens become one vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from eyestream.errors import Misconfigured
from eyestream_engines.architectures import Vit
from eyestream_engines.cases import Case
from eyestream_engines.families import Arrays, Expected
from eyestream_engines.networks.vit import EPSILON, LAST, Encoder
from eyestream_engines.spec import EncoderFile

MLP_RATIO: Final = 4
_LAYERS: Final = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (MLP_RATIO, 1), "mlp.fc2": (1, MLP_RATIO)}
"""Outputs and inputs of a block's linear layers, in widths."""
_RAW: Final = ("raw-patch-mean-norm", "raw-patch-mean-and-class-layernorm")
_ARRAYS: Final = {
    "mean_patch": "patch-mean",
    "mean_patch_layernorm": "patch-mean-layernorm",
    "mean_all_tokens": "token-mean",
}
"""What the original's other features are called in parity cases."""


def expected(encoder: EncoderFile) -> Mapping[str, Expected]:
    """Every key of the published file."""
    size = _table(encoder)
    keys = {"cls_token": Expected((1, 1, size.width)), "pos_embed": Expected(_positions_shape(encoder))}
    keys |= {
        "patch_embed.proj.weight": Expected((size.width, 3, size.patch, size.patch)),
        "patch_embed.proj.bias": Expected((size.width,)),
    }
    if size.registers:
        keys["reg_token"] = Expected((1, size.registers, size.width))
    for block in range(size.depth):
        keys |= {f"blocks.{block}.{name}": Expected(shape) for name, shape in _block(size)}
    unread = size.pooling in _RAW
    fitted = size.classifier == "linear" and size.pooling == "raw-patch-mean-norm"
    for leaf in ("weight", "bias"):
        keys[f"norm.{leaf}"] = Expected((size.width,), "ignored" if unread else "used")
        if fitted:
            keys[f"fc_norm.{leaf}"] = Expected((size.width,))
    return keys | _classifier(encoder)


def module(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network with these weights; it shares their memory.

    A classifier of several layers is part of it up to its last one, which a ScoreHead holds.
    """
    network = network_of(encoder, weights)
    if _table(encoder).classifier != "batchnorm-mlp":
        return network
    head = classifier(encoder, weights)
    assert head is not None
    return nn.Sequential(network, head[:-1])


def network_of(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> Encoder:
    """The encoder alone, whatever stands behind its embedding."""
    size = _table(encoder)
    with torch.device("meta"):
        backbone = VisionTransformer(
            img_size=(encoder.input.height, encoder.input.width),
            patch_size=size.patch,
            num_classes=0,
            global_pool="",
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            mlp_ratio=MLP_RATIO,
            init_values=1.0 if size.layer_scale else None,
            no_embed_class=not size.class_position,
            reg_tokens=size.registers,
            norm_layer=partial(nn.LayerNorm, eps=EPSILON),
            act_layer=nn.GELU,
            weight_init="skip",
        )
    given = merged(size, weights) | {"pos_embed": positions(encoder, weights["pos_embed"])}
    if size.pooling in _RAW:  # never read, and not every file has it
        given |= {"norm.weight": torch.ones(size.width), "norm.bias": torch.zeros(size.width)}
    backbone.load_state_dict({name: given[name] for name in backbone.state_dict()}, assign=True)
    fc_norm = nn.LayerNorm(size.width, eps=EPSILON)
    if "fc_norm.weight" in weights:
        fc_norm.load_state_dict({leaf: weights[f"fc_norm.{leaf}"] for leaf in ("weight", "bias")})
    network = Encoder(backbone, size.pooling, fc_norm)
    network.eval().requires_grad_(requires_grad=False)
    return network


def arrays(encoder: EncoderFile, weights: Mapping[str, Tensor], case: Case) -> Arrays:
    """The embedding, the other features that the original stored, and a fine-tuned file's logits."""
    network = network_of(encoder, weights)
    with torch.inference_mode():
        layers = network.layers(torch.from_numpy(case.pictures()))
        found = {"embedding": network.pool(layers, network.pooling)}
        for name in case.expected().keys() & _ARRAYS.keys():
            found[name] = network.pool(layers, _ARRAYS[name])
        if network_head := classifier(encoder, weights):
            found["logits"] = network_head(found["embedding"])
        if "logits_head_code" in case.expected():
            assert network_head is not None
            found["logits_head_code"] = network_head(network.fc_norm(found["embedding"]))
    return {name: value.numpy() for name, value in found.items()}


def classifier(encoder: EncoderFile, weights: Mapping[str, Tensor]) -> nn.Sequential | None:
    """What a fine-tuned file holds behind the embedding: [n, dim] -> logits [n, classes]; None without one."""
    size = _table(encoder)
    if size.classifier is None:
        return None
    with torch.device("meta"):
        head = _head(size, weights)
    names = {"linear": ("",), "batchnorm-mlp": _MLP}[size.classifier]
    prefixes = [prefix for prefix in names if prefix is not None]
    layers = [layer for layer in head if any(True for _ in layer.parameters())]
    for prefix, layer in zip(prefixes, layers, strict=True):
        layer.load_state_dict({leaf: weights[f"head.{prefix}{leaf}"] for leaf in layer.state_dict()}, assign=True)
    head.eval().requires_grad_(requires_grad=False)
    return head


def merged(size: Vit, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with low-rank adapters added in: W + alpha / rank x B A."""
    if size.lora_alpha is None:
        return dict(weights)
    plain = {name: value for name, value in weights.items() if ".lora_adapter." not in name}
    for name in [name for name in plain if name.endswith(".original_linear.weight")]:
        layer = name.removesuffix(".original_linear.weight")
        down, up = (weights[f"{layer}.lora_adapter.lora_{side}.weight"] for side in "AB")
        if len(down) != up.shape[1]:
            raise Misconfigured(f"{layer}: adapters of rank {len(down)} and {up.shape[1]} do not fit together")
        plain[name] = plain[name] + size.lora_alpha / len(down) * (up @ down)
    return {name.replace(".original_linear.", "."): value for name, value in plain.items()}


def positions(encoder: EncoderFile, table: Tensor) -> Tensor:
    """The table of positions for the input's grid.

    One of another size is resampled as the authors do: bicubic, corners not aligned, no antialiasing, the class
    token's row kept. timm's own resampling antialiases, which moves an embedding in the second decimal.
    """
    size = _table(encoder)
    wanted = _grid(encoder)
    kept = int(size.class_position)
    side = math.isqrt(table.shape[1] - kept)
    if side not in (size.position_grids or (wanted,)) or side**2 + kept != table.shape[1]:
        raise Misconfigured(f"pos_embed has {table.shape[1]} rows, which is no published size of {encoder.name}")
    if side == wanted:
        return table
    grid = table[:, kept:].reshape(1, side, side, size.width).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :kept], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


_MLP: Final = ("channel_bn.", "classifier.0.", "classifier.3.", "classifier.6.")


def _head(size: Vit, weights: Mapping[str, Tensor]) -> nn.Sequential:
    if size.classifier == "linear":
        return nn.Sequential(nn.Linear(weights["head.weight"].shape[1], len(weights["head.weight"])))
    wide, half, quarter = (weights[f"head.classifier.{layer}.weight"].shape[1] for layer in (0, 3, 6))
    classes = len(weights["head.classifier.6.bias"])
    return nn.Sequential(
        nn.BatchNorm1d(wide, eps=EPSILON),
        nn.Linear(wide, half),
        nn.GELU(),
        nn.Linear(half, quarter),
        nn.GELU(),
        nn.Linear(quarter, classes),
    )


def _classifier(encoder: EncoderFile) -> dict[str, Expected]:
    size, dim = _table(encoder), encoder.output.dim
    if size.classifier is None:
        return {}
    if size.classifier == "linear":
        return {"head.weight": Expected((None, dim)), "head.bias": Expected((None,))}
    dim = LAST * size.width
    keys: dict[str, Expected] = {"head.channel_bn.num_batches_tracked": Expected((), "optional")}
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        keys[f"head.channel_bn.{leaf}"] = Expected((dim,))
    for layer, outputs, inputs in ((0, dim // 2, dim), (3, dim // 4, dim // 2), (6, None, dim // 4)):
        keys[f"head.classifier.{layer}.weight"] = Expected((outputs, inputs))
        keys[f"head.classifier.{layer}.bias"] = Expected((outputs,))
    return keys


def _block(size: Vit) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    for norm in ("norm1", "norm2"):
        yield f"{norm}.weight", (size.width,)
        yield f"{norm}.bias", (size.width,)
    if size.layer_scale:
        yield "ls1.gamma", (size.width,)
        yield "ls2.gamma", (size.width,)
    for name, (outputs, inputs) in _LAYERS.items():
        inner = f"{name}.original_linear" if size.lora_alpha else name
        yield f"{inner}.weight", (outputs * size.width, inputs * size.width)
        yield f"{inner}.bias", (outputs * size.width,)
        if size.lora_alpha:
            yield f"{name}.lora_adapter.lora_A.weight", (None, inputs * size.width)
            yield f"{name}.lora_adapter.lora_B.weight", (outputs * size.width, None)


def _positions_shape(encoder: EncoderFile) -> tuple[int | None, ...]:
    size = _table(encoder)
    grids = size.position_grids or (_grid(encoder),)
    rows = grids[0] ** 2 + int(size.class_position) if len(grids) == 1 else None
    return (1, rows, size.width)


def _grid(encoder: EncoderFile) -> int:
    size = _table(encoder)
    if encoder.input.height != encoder.input.width or encoder.input.height % size.patch:
        raise Misconfigured(f"{encoder.name}: the input must be square and a multiple of {size.patch} pixels")
    return encoder.input.height // size.patch


def _table(encoder: EncoderFile) -> Vit:
    assert isinstance(encoder.architecture, Vit)
    return encoder.architecture
