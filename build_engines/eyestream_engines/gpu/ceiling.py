"""The matrix products that bound an encoder: the fastest that this device multiplies, and the encoder's own alone.

A convolution counts as the matrix product that it is, attention as its two. Knows shapes and no weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eyestream_engines.export import shape_of
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.timing import Contestant, Effort, Rates, compare, reason
from eyestream_engines.spec import Input

SQUARES: Final = (2048, 4096, 8192)
"""Sides that are tried for the ceiling of a GPU: the largest is not the fastest on every one."""
_SMALL: Final = 0.02
_aten: Final = torch.ops.aten
_TRANSPOSED, _GROUPS = 6, 8
"""Which of a convolution's arguments they are."""


@dataclass(frozen=True, slots=True)
class Product:
    """`many` products of [rows, inner] with [inner, columns]."""

    many: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each pair of numbers that meet."""
        return 2 * self.many * self.rows * self.inner * self.columns


def products(network: nn.Module, told: Input, batch: int) -> Counter[Product]:
    """The products of one batch, by how often each is made. Computes nothing: the network must be on `meta`."""
    *frames, height, width, channels = shape_of(told)
    pictures = torch.empty([batch, channels, *frames, height, width], device="meta")
    seen = _Products()
    with torch.no_grad(), seen:  # inference_mode would show `linear` and `conv2d`, and not what they are made of
        network(pictures)
    return seen.found


def flops(found: Mapping[Product, int]) -> int:
    """Of all of them."""
    return sum(product.flops * times for product, times in found.items())


def alone(found: Mapping[Product, int], device: Device) -> Contestant:
    """All these products in FP16, one after the other, with nothing between them: a call is one batch's.

    Raises RuntimeError when their largest matrices do not fit.
    """
    sizes = [
        (one.many * one.rows * one.inner, one.many * one.inner * one.columns, one.many * one.rows * one.columns)
        for one in found
    ]
    left, right, into = (_filled(max(part, default=1), device) for part in zip(*sizes, strict=True))
    work = [
        (
            left[: one.many * one.rows * one.inner].view(one.many, one.rows, one.inner),
            right[: one.many * one.inner * one.columns].view(one.many, one.inner, one.columns),
            into[: one.many * one.rows * one.columns].view(one.many, one.rows, one.columns),
            times,
        )
        for one, times in found.items()
    ]

    def run(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                for first, second, out, often in work:
                    for _ in range(often):
                        torch.bmm(first, second, out=out)
        device.wait()

    return run


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The side of square FP16 matrices that this device multiplies fastest, and the contestant that does it."""

    side: int
    run: Contestant

    @property
    def flops(self) -> int:
        """Of one call."""
        return Product(1, self.side, self.side, self.side).flops


def ceiling(device: Device, effort: Effort, *, sides: Sequence[int] = SQUARES) -> Ceiling:
    """Try the sides and keep the fastest. Raises RuntimeError when not even the smallest fits."""
    tried: dict[int, Contestant] = {}
    fault: Exception | None = None
    for side in sides:
        try:
            tried[side] = alone({Product(1, side, side, side): 1}, device)
        except RuntimeError as error:  # too little memory: another program may hold it
            fault = error
    rates = compare({str(side): run for side, run in tried.items()}, effort).rates
    if not rates:
        raise RuntimeError(f"no matrix product runs here: {reason(fault) if fault else 'each of them failed'}")

    def speed(side: int) -> float:
        told: Rates = rates[str(side)]
        return told.median * Product(1, side, side, side).flops

    best = max((side for side in tried if str(side) in rates), key=speed)
    return Ceiling(best, tried[best])


class _Products(TorchDispatchMode):
    """Notes every matrix product that torch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        self.found.update(_made_by(func, args, answer))
        return answer


def _made_by(func: Any, args: tuple[Any, ...], answer: Any) -> list[Product]:
    kind = func.overloadpacket
    if kind in {_aten.mm, _aten.bmm}:
        return [_plain(args[0], args[1])]
    if kind in {_aten.addmm, _aten.baddbmm}:
        return [_plain(args[1], args[2])]
    if kind is _aten.convolution:
        return [_convolution(args[0], args[1], args[_GROUPS], None if args[_TRANSPOSED] else answer)]
    if "scaled_dot_product" in str(kind):
        return _attention(*args[:3])
    return []


def _plain(first: Tensor, second: Tensor) -> Product:
    many = first.shape[0] if first.dim() == second.dim() == 3 else 1  # noqa: PLR2004 - a batch of matrices
    return Product(many, first.shape[-2], first.shape[-1], second.shape[-1])


def _convolution(picture: Tensor, weight: Tensor, groups: int, answer: Tensor | None) -> Product:
    """Each place of the answer meets one column of the unfolded picture, group by group.

    A transposed one has no `answer`: each place of the picture makes a column, which is then folded.
    """
    kernel, filters = math.prod(weight.shape[1:]), weight.shape[0] // groups
    if answer is None:
        return Product(groups, picture.shape[0] * math.prod(picture.shape[2:]), filters, kernel)
    return Product(groups, answer.shape[0] * math.prod(answer.shape[2:]), kernel, filters)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> list[Product]:
    *many, rows, inner = query.shape
    heads = math.prod(many)
    return [Product(heads, rows, inner, key.shape[-2]), Product(heads, rows, value.shape[-2], value.shape[-1])]


def _filled(size: int, device: Device) -> Tensor:
    """Numbers as a network has them: a GPU that multiplies zeros takes less power, and runs faster."""
    return torch.randn(size, dtype=torch.float16, device=device.name).mul_(_SMALL)
