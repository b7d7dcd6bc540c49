"""Between published tensors and modules: which tensors a module asks for, and a module filled with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from eyestream_engines.families import Expected

Use = Literal["used", "optional", "ignored"]


def asks(module: nn.Module, prefix: str = "", *, use: Use = "used") -> dict[str, Expected]:
    """What the module's tensors must look like in a file that has `prefix` before their names.

    Counters that BatchNorm keeps for training are ignored.
    """
    found = {}
    for name, tensor in module.state_dict().items():
        trained = not name.endswith("num_batches_tracked")
        found[prefix + name] = Expected(tuple(tensor.shape), use if trained else "ignored")
    return found


def empty(build: Callable[[], nn.Module]) -> nn.Module:
    """The module without memory for its weights: good for `asks` and for `filled`."""
    with torch.device("meta"):
        return build()


def filled(module: nn.Module, weights: Mapping[str, Tensor], prefix: str = "") -> nn.Module:
    """The module in eval mode with its tensors taken from `weights`, in float32; every one must be there."""
    own = {}
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            own[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        else:
            own[name] = weights[prefix + name].float()
    module.load_state_dict(own, strict=True, assign=True)
    return module.requires_grad_(False).eval()
