"""Which machine it was measured on, and what it lacks. Knows programs and packages, no network."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from eyestream_engines.compilers import tensorrt
from eyestream_engines.reporting.measuring import machine as processor

_QUERY: Final = ("memory.total", "driver_version", "power.limit", "clocks.max.sm")
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts beside every figure; those of a GPU are empty where a processor rehearses.

    `gpu` its product, `compute` its capability; `memory`, `power_limit` and `highest_clock` with their units, as
    nvidia-smi prints them; `compiler` and `compiler_version` of the engine; `torch` with the CUDA it was built for.
    """

    gpu: str
    compute: str
    memory: str
    driver: str
    power_limit: str
    highest_clock: str
    compiler: str
    compiler_version: str
    torch: str
    processor: str

    @property
    def slug(self) -> str:
        """Its folder's name: figures of two kinds of GPU are kept side by side."""
        return re.sub(r"[^a-z0-9]+", "-", (self.gpu or "processor").lower()).strip("-")

    @property
    def short(self) -> str:
        """What people call the GPU, and the planner too: `l4`, `h100`; the whole name where no word of it says it."""
        words = self.slug.split("-")
        return next((word for word in words if re.search("[a-z]", word) and re.search("[0-9]", word)), self.slug)

    def told(self) -> str:
        """One line for a person."""
        if not self.gpu:
            return f"{self.processor}, {self.compiler} {self.compiler_version}, torch {self.torch}"
        card = f"{self.gpu}, compute capability {self.compute}, {self.memory}, limit {self.power_limit}"
        return (
            f"{card}, highest clock {self.highest_clock}, driver {self.driver}; {self.compiler} "
            f"{self.compiler_version}, torch {self.torch}; {self.processor}"
        )


def lacking() -> str:
    """What this machine lacks, in words; empty where plans can be made, run and timed."""
    if tensorrt.gpu() is None:
        return "nvidia-smi finds no GPU"
    if not tensorrt.installed("tensorrt"):
        return "TensorRT is not installed beside this program: pip install tensorrt"
    import torch

    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} cannot use the GPU that nvidia-smi finds: update its driver, or install another"
        )
    return ""


def here(compiler: str, compiler_version: str, *, gpu: str = "", compute: str = "") -> Machine:
    """This machine; nvidia-smi is asked where a GPU is named."""
    import torch

    memory, driver, power_limit, highest_clock = _smi() if gpu else ("",) * len(_QUERY)
    cuda = f" (CUDA {torch.version.cuda})" if gpu and torch.version.cuda else ""
    return Machine(
        gpu,
        compute,
        memory,
        driver,
        power_limit,
        highest_clock,
        compiler,
        compiler_version,
        f"{version('torch')}{cuda}",
        processor(),
    )


def _smi() -> tuple[str, ...]:
    """Each fact of the first GPU, as nvidia-smi prints it."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return (_UNKNOWN,) * len(_QUERY)
    found = tuple(part.strip() for part in told[0].split(",")) if told else ()
    return found if len(found) == len(_QUERY) else (_UNKNOWN,) * len(_QUERY)
