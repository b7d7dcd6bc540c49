"""What makes a graph run: ONNX Runtime on a processor, TensorRT on a GPU, TensorRT for RTX compiled without one.

`base` says what each promises; a back end is imported when it is asked for, so that its package may be missing.
"""

from __future__ import annotations

from eyestream.errors import Misconfigured
from eyestream_engines.compilers.base import Compiler, Target

NAMES = ("onnxruntime", "tensorrt", "tensorrt-rtx")

__all__ = ["NAMES", "Compiler", "Target", "choose"]


def choose(name: str = "auto", *, compute: str | None = None) -> Compiler:
    """The back end of that name; `auto` is TensorRT where it is installed beside a GPU, else ONNX Runtime.

    `compute`: for TensorRT for RTX, the compute capability to compile for (`8.9`). Raises Misconfigured when the back
    end is not installed here.
    """
    from eyestream_engines.compilers import onnx, tensorrt

    if name == "auto":
        name = "tensorrt" if tensorrt.installed("tensorrt") and tensorrt.gpu() else "onnxruntime"
    if name == "onnxruntime":
        return onnx.OnnxRuntime()
    if name in NAMES:
        return tensorrt.TensorRT(name, compute=compute)
    raise Misconfigured(f"there is no compiler {name!r}; there are: auto, {', '.join(NAMES)}")
