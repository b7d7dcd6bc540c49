"""What a careful user has without TensorRT: the same network in FP16 under torch.compile."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from eyestream.records import Pixels, Vectors
from eyestream_engines import export
from eyestream_engines.gpu.device import Device
from eyestream_engines.gpu.timing import Contestant, Unfit, reason
from eyestream_engines.spec import EncoderFile

if TYPE_CHECKING:
    from torch import Tensor


class Half(nn.Module):
    """What an engine computes, with every weight and every number between in FP16; normalisation and length in FP32."""

    def __init__(self, encoder: EncoderFile, network: nn.Module) -> None:
        super().__init__()
        self.front, self.network = export.Front(encoder.input), copy.deepcopy(network).half()
        self.l2 = encoder.output.l2
        leaves = (part for part in self.network.modules() if not list(part.children()) and list(part.parameters()))
        if (first := next(leaves, None)) is not None:
            first.register_forward_pre_hook(_halved)
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 pictures -> float16 embeddings [n, dim]."""
        vectors = self.network(self.front(pixels).half()).float()
        return (nn.functional.normalize(vectors, dim=1) if self.l2 else vectors).half()


def _halved(_layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A network that normalises in FP32 by itself goes on in FP16; to the others it does nothing."""
    return tuple(tensor.half() for tensor in given)


@dataclass(frozen=True, slots=True)
class Bound:
    """The baseline with a batch before it; `fallback` says why it is not compiled, where it is not."""

    run: Contestant
    answer: Vectors
    fallback: str = ""


def bind(half: Half, device: Device, pixels: Pixels, *, backend: str = "inductor") -> Bound:
    """Compile it for exactly this batch, and run it once; where that fails, the same without torch.compile.

    The module must be on the device. Raises Unfit, or RuntimeError, when the batch is too large or its numbers are not
    finite: an FP16 network that overflows is no measure.
    """
    given, fallback = device.tensor(pixels), ""
    torch.compiler.reset()
    program = torch.compile(half, dynamic=False, backend=backend)
    with torch.inference_mode():
        try:
            answer = program(given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # every fault of torch.compile is one
            fallback, program = f"{type(error).__name__}: {reason(error)}", half
            answer = program(given)
    vectors = answer.float().cpu().numpy()
    if not torch.isfinite(answer).all():
        raise Unfit("the network in FP16 gives numbers that are not finite")

    def run(times: int) -> None:
        with torch.inference_mode():
            for _ in range(times):
                program(given)
        device.wait()

    return Bound(run, vectors, fallback)
