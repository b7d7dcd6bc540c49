"""Plans by NVIDIA's two TensorRTs, whose interfaces are one: `tensorrt` (10 and 11) and `tensorrt_rtx`.

The graph is strongly typed, so no precision is asked for here. A compilation runs in a process of its own: it takes
much memory and is killed by the kernel rather than the build, and its progress comes through a pipe.
`python -m eyestream_engines.compilers.tensorrt` is that process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from eyestream.encoders.triton import INPUT, OUTPUT
from eyestream.errors import Misconfigured
from eyestream.records import Pixels, Vectors
from eyestream_engines import child
from eyestream_engines.compilers.base import Target, Told
from eyestream_engines.compilers.onnx import OnnxRuntime
from eyestream_engines.export import shape_of
from eyestream_engines.spec import EncoderFile

_MODULES: Final = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_PACKAGES: Final = {
    "tensorrt": ("tensorrt", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings"),
}
_WORKSPACE: Final = 4 << 30
RTX_PLAN: Final = "model.rtx"


class TensorRT:
    """Implements `Compiler` for both products; `compute` is the capability that TensorRT for RTX compiles for."""

    def __init__(self, name: str, *, compute: str | None = None) -> None:
        if not installed(name):
            raise Misconfigured(f"{name} is not installed here: pip install {_PACKAGES[name][0]}")
        self._name = name
        card = gpu()
        if name == "tensorrt" and card is None:
            raise Misconfigured(
                "TensorRT compiles for the GPU at hand, and nvidia-smi finds none; use --compiler onnxruntime"
            )
        self._gpu, self._compute = card or ("", "")
        self._compute = compute or self._compute

    @property
    def target(self) -> Target:
        """This version, on this GPU."""
        return Target(self._name, _version(self._name), self._gpu, self._compute)

    @property
    def triton(self) -> tuple[str, str]:
        """Triton's back end and its file; it has none for RTX, whose plan lies beside a graph that it can serve."""
        return ("tensorrt", "model.plan") if self._name == "tensorrt" else ("onnxruntime", "model.onnx")

    def compile(self, graph: Path, encoder: EncoderFile, into: Path, told: Told) -> Mapping[str, object]:
        """Compile in a process of its own, with a timing cache kept for the next one."""
        into.parent.mkdir(parents=True, exist_ok=True)
        plan = into
        if self._name == "tensorrt-rtx":
            OnnxRuntime().compile(graph, encoder, into, told)
            plan = into.with_name(RTX_PLAN)
        task = {
            "module": _MODULES[self._name],
            "graph": str(graph),
            "plan": str(plan),
            "shape": shape_of(encoder.input),
            "batches": [1, _usual(encoder), encoder.serving.max_batch],
            "compute": self._compute if self._name == "tensorrt-rtx" else "",
            "cache": str(self._cache()),
        }
        started = time.monotonic()
        command = [sys.executable, "-m", __name__, json.dumps(task)]

        def progress(line: str) -> None:
            if line.startswith("{"):
                said = json.loads(line)
                told(said["phase"], said["share"])

        status, errors = child.run(command, progress)
        if status != 0:
            how = "was killed: it needs more memory" if status < 0 else "refused the graph"
            raise Misconfigured(f"{self._name} {how}\n{errors.strip()[-2000:]}")
        return {"bytes": plan.stat().st_size, "seconds": round(time.monotonic() - started, 1)}

    def _cache(self) -> Path:
        """Timings are of one compiler on one kind of GPU; elsewhere they would be refused."""
        card = self._gpu.replace(" ", "-") or "no-gpu"
        folder = Path.home() / ".cache" / "eyestream" / "timings"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self._name}-{_version(self._name)}-{card}.cache"

    def run(self, engine: Path, pictures: Pixels, *, batch: int) -> Vectors | None:
        """Embeddings by the plan on this GPU; None without one."""
        if not self._gpu:
            return None
        plan = engine.with_name(RTX_PLAN) if self._name == "tensorrt-rtx" else engine
        return _run(_MODULES[self._name], plan, pictures, batch=batch)


def installed(name: str) -> bool:
    """Whether that product can be imported here."""
    return importlib.util.find_spec(_MODULES[name]) is not None


def gpu() -> tuple[str, str] | None:
    """Product and compute capability of the first GPU that this process may use; None without one."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:  # noqa: TID251 - CUDA's own setting
        first = visible.split(",")[0].strip()
        if first in {"", "-1"}:
            return None
        query.append(f"--id={first}")
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, compute = told.strip().splitlines()[0].rpartition(",") if told.strip() else ("", "", "")
    return (name.strip(), compute.strip()) if name else None


def _version(name: str) -> str:
    for package in _PACKAGES[name]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return str(importlib.import_module(_MODULES[name]).__version__)


def _usual(encoder: EncoderFile) -> int:
    return max(encoder.serving.preferred_batches, default=encoder.serving.max_batch)


def _run(module: str, engine: Path, pictures: Pixels, *, batch: int) -> Vectors:
    import torch

    trt = importlib.import_module(module)
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    plan = runtime.deserialize_cuda_engine(engine.read_bytes())
    if plan is None:
        raise Misconfigured(f"{engine} cannot be loaded: it is of another GPU or another TensorRT; build it again")
    context = plan.create_execution_context()
    stream = torch.cuda.Stream()
    parts = []
    for start in range(0, len(pictures), batch):
        given = torch.from_numpy(np.ascontiguousarray(pictures[start : start + batch])).cuda()
        context.set_input_shape(INPUT, tuple(given.shape))
        answer = torch.empty(tuple(context.get_tensor_shape(OUTPUT)), dtype=torch.float16, device="cuda")
        context.set_tensor_address(INPUT, given.data_ptr())
        context.set_tensor_address(OUTPUT, answer.data_ptr())
        torch.cuda.synchronize()
        if not context.execute_async_v3(stream.cuda_stream):
            raise Misconfigured(f"TensorRT did not run {engine} on {len(given)} pictures: its log above says why")
        stream.synchronize()
        parts.append(answer.float().cpu().numpy())
    return np.concatenate(parts)


def compile_here(task: Mapping[str, Any]) -> None:
    """Compile in this process; progress as lines of JSON on stdout. Raises RuntimeError with what the parser says."""
    trt = importlib.import_module(task["module"])
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # Strong typing is a flag up to TensorRT 10 and for RTX, and all there is in TensorRT 11.
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(task["graph"]):
        raise RuntimeError("; ".join(str(parser.get_error(number)) for number in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
    config.progress_monitor = _monitor(trt)
    if task["compute"]:
        config.num_compute_capabilities = 1
        wanted = getattr(trt.ComputeCapability, "SM" + str(task["compute"]).replace(".", ""))
        config.set_compute_capability(wanted, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((batch, *task["shape"]) for batch in task["batches"]))
    config.add_optimization_profile(profile)
    _with_cache(config, Path(task["cache"]))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("the compiler gave no plan, and no reason")
    Path(task["plan"]).write_bytes(plan)
    if (cache := config.get_timing_cache()) is not None:
        kept = Path(task["cache"])
        own = kept.with_suffix(f".{os.getpid()}")
        own.write_bytes(cache.serialize())
        own.replace(kept)  # whole, or as it was: another compilation may read it now


def _with_cache(config: Any, path: Path) -> None:
    kept = path.read_bytes() if path.exists() else b""
    if (cache := config.create_timing_cache(kept)) is not None:
        config.set_timing_cache(cache, ignore_mismatch=False)


def _monitor(trt: Any) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Says on stdout how far the outermost phase is."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._phases[phase_name] = max(1, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if steps := self._phases.get(phase_name):
                print(json.dumps({"phase": phase_name, "share": min(1.0, step / steps)}), flush=True)  # noqa: T201
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

    return Monitor()


if __name__ == "__main__":
    try:
        compile_here(json.loads(sys.argv[1]))
    except (RuntimeError, ImportError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
