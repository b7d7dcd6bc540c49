"""A checkpoint -> a verified engine in a Triton repository: the order of the steps, each a module of its own."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from eyestream.records import Digest, Pixels
from eyestream_engines import checkpoints, files, gates, publishing, triton_config
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.compilers.base import Compiler
from eyestream_engines.families import family_of
from eyestream_engines.gates import Floats, Reading
from eyestream_engines.inference import embed
from eyestream_engines.spec import SHELF, EncoderFile

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

Told = Callable[[str, float], None]
"""Told which step is being done, and which share of it, 0 to 1."""

STEPS: Final = (
    "hashing the checkpoint",
    "checking its keys",
    "comparing with the original",
    "computing the reference",
    "exporting",
    "checking the graph",
    "making it FP16",
    "checking FP16",
    "compiling",
    "checking the engine",
    "publishing",
)
_VERSIONS: Final = ("eyestream", "numpy", "onnx", "onnxruntime", "onnxscript", "timm", "torch")


@dataclass(frozen=True, slots=True)
class Built:
    """A model in its place; `fresh` is False when it was there already and nothing was done."""

    folder: Path
    manifest: Mapping[str, Any]
    fresh: bool


def build(
    encoder: EncoderFile,
    checkpoint: Path,
    repository: Path,
    *,
    compiler: Compiler,
    name: str | None = None,
    told: Told = lambda _step, _share: None,
) -> Built:
    """Make, verify and publish the encoder's engine as the model `name`.

    Called again with the same checkpoint, description, code and target it does nothing, once the files in place are
    found whole. Raises Misconfigured when the checkpoint is not the encoder's or an engine is beyond a bound; nothing
    is published then, and what was there before stays.
    """
    name = name or encoder.name
    files.kind_of(checkpoint)
    digest = files.digest(checkpoint, lambda done, size: told(STEPS[0], done / size))
    identity = identity_of(encoder, digest, compiler)
    with publishing.staging(repository, name) as folder:
        kept = publishing.manifest(repository, name)
        if kept is not None and kept.get("identity") == identity and publishing.intact(repository, name):
            return Built(repository / name, kept, fresh=False)
        facts = _make(encoder, checkpoint, digest, folder, compiler=compiler, name=name, told=told)
        told(STEPS[10], 0.0)
        place = publishing.publish(folder, repository, name, facts | {"identity": identity})
        told(STEPS[10], 1.0)
    published = publishing.manifest(repository, name)
    assert published is not None
    return Built(place, published, fresh=True)


def identity_of(encoder: EncoderFile, digest: Digest, compiler: Compiler) -> str:
    """sha256 of everything an engine depends on: weights, description, code, packages, target."""
    state = hashlib.sha256(digest.encode())
    state.update(encoder.model_dump_json().encode())
    state.update(repr((_versions(), asdict(compiler.target))).encode())
    for path in sorted((SHELF / "eyestream_engines").rglob("*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()


def _make(
    encoder: EncoderFile,
    checkpoint: Path,
    digest: Digest,
    folder: Path,
    *,
    compiler: Compiler,
    name: str,
    told: Told,
) -> dict[str, Any]:
    told(STEPS[1], 0.0)
    weights = checkpoints.select(encoder, files.read(checkpoint), source=str(checkpoint))
    network = family_of(encoder).module(encoder, weights)
    told(STEPS[2], 0.0)
    readings = compare_with_original(encoder)
    told(STEPS[3], 0.0)
    pixels = gates.pictures(encoder.input)
    expected = reference(encoder, network, pixels)
    work = folder / "work"
    readings += graphs(encoder, network, work=work, pixels=pixels, expected=expected, told=told)
    backend, file = compiler.triton
    engine = folder / "1" / file
    compiled = compiler.compile(work / "model.onnx", encoder, engine, lambda _phase, share: told(STEPS[8], share))
    told(STEPS[9], 0.0)
    answer = compiler.run(engine, pixels, batch=batch_of(encoder))
    if answer is not None:
        readings.append(gates.require(gates.half("engine", expected, answer, encoder)))
    shutil.rmtree(work)
    config = triton_config.render(encoder, encoder.identity(digest), name=name, backend=backend)
    (folder / "config.pbtxt").write_text(config)
    return {
        "schema_version": 1,
        "name": name,
        "encoder": {
            "name": encoder.name,
            "title": encoder.title,
            "licence": encoder.licence,
            "digest": encoder.identity(digest),
        },
        "checkpoint": {
            "sha256": digest,
            "bytes": checkpoint.stat().st_size,
            "published": encoder.published.holds(digest) if encoder.published else None,
        },
        "target": asdict(compiler.target),
        "compiled": dict(compiled),
        "run_here": answer is not None,
        "versions": _versions(),
        "gates": [reading.facts() for reading in readings],
    }


def compare_with_original(encoder: EncoderFile) -> list[Reading]:
    """Our code against the original's stored numbers: the encoder's parity case, filled from its seed."""
    if encoder.parity is None:
        return []
    case = Case.open(PARITY / encoder.parity)
    readings = [] if (prepared := gates.preprocessing(encoder, case)) is None else [prepared]
    weights = checkpoints.select(encoder, case.file(), source=case.name)
    readings += gates.original(family_of(encoder).arrays(encoder, weights, case), case, encoder)
    return [gates.require(reading) for reading in readings]


def batch_of(encoder: EncoderFile) -> int:
    """Pictures, or volumes, at a time: a graph of volumes holds gigabytes of attention for each."""
    return 2 if encoder.input.frames is None else 1


def reference(encoder: EncoderFile, network: nn.Module, pixels: Pixels) -> Floats:
    """What torch says in FP32 of pictures normalised by arithmetic of its own."""
    import torch

    given = torch.from_numpy(gates.normalised(pixels, encoder.input))
    with torch.inference_mode():
        vectors = np.concatenate([network(part).float().numpy() for part in given.split(batch_of(encoder))])
    return gates.unit(vectors) if encoder.output.l2 else vectors


def graphs(
    encoder: EncoderFile, network: nn.Module, *, work: Path, pixels: Pixels, expected: Floats, told: Told
) -> list[Reading]:
    """Write work/model.onnx, strongly typed FP16, having held it and its FP32 origin against torch."""
    import onnx_ir as ir

    from eyestream_engines import export, precision

    told(STEPS[4], 0.0)
    graph = export.to_graph(encoder, export.Engine(encoder, network))
    work.mkdir(parents=True)
    full, rounded, served = work / "full.onnx", work / "rounded.onnx", work / "model.onnx"
    ir.save(graph, full, external_data="full.data")
    told(STEPS[5], 0.0)
    readings = [gates.require(gates.graph(expected, embed(full, pixels, batch=batch_of(encoder)), encoder))]
    told(STEPS[6], 0.0)
    precision.halve(graph)
    export.save(graph, served)
    _drop(full)
    told(STEPS[7], 0.0)
    emulated = ir.load(served)
    precision.emulate(emulated)
    ir.save(emulated, rounded, external_data="rounded.data")
    answer = embed(rounded, pixels, batch=batch_of(encoder))
    readings.append(gates.require(gates.half("FP16, rounded as a GPU does", expected, answer, encoder)))
    del emulated
    _drop(rounded)
    return readings


def _drop(graph: Path) -> None:
    graph.unlink()
    graph.with_suffix(".data").unlink(missing_ok=True)


def _versions() -> dict[str, str]:
    return {package: version(package) for package in _VERSIONS}
