"""Where tensors lie and work is awaited: a GPU, or the processor that rehearses for it. Knows torch and no engine."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eyestream.records import Pixels

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Stream:
    """A queue of work: its handle for programs that are no part of torch, and what waits until it is empty.

    `owner` keeps torch's own object alive, for the handle is nothing but its address.
    """

    handle: int
    wait: Callable[[], None]
    owner: Any = None


class Device:
    """`cuda` or `cpu`, as torch names them."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def gpu(self) -> bool:
        """Whether it is one."""
        return self.name.startswith("cuda")

    def tensor(self, pixels: Pixels) -> Tensor:
        """The pictures there; they have arrived when this returns."""
        import torch

        held = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.name)
        self.wait()
        return held

    def empty(self, shape: tuple[int, ...], kind: Any) -> Tensor:
        """Memory there, of no certain content. Raises RuntimeError when there is too little of it."""
        import torch

        return torch.empty(shape, dtype=kind, device=self.name)

    def stream(self) -> Stream:
        """A queue of its own: on the default one TensorRT waits for all the others at every call."""
        if not self.gpu:
            return Stream(0, _nothing)
        import torch

        stream = torch.cuda.Stream()
        return Stream(int(stream.cuda_stream), stream.synchronize, stream)

    def wait(self) -> None:
        """Until everything that was asked of it is done."""
        if self.gpu:
            import torch

            torch.cuda.synchronize()

    def release(self) -> None:
        """Give memory back that nothing holds any more, so that TensorRT and other processes can have it."""
        import torch

        torch.compiler.reset()  # what was compiled holds its weights
        gc.collect()
        if self.gpu:
            torch.cuda.empty_cache()


def _nothing() -> None:
    pass
