"""A checkpoint -> a verified engine in a Triton repository: the order of the steps, each a module of its own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream_engines import checkpoints, files, gates, proving, publishing, triton_config
from eyestream_engines.compilers.base import Compiler
from eyestream_engines.families import family_of
from eyestream_engines.spec import SHELF, EncoderFile
from eyestream_engines.steps import STEPS, Told

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
    found whole. Raises Misconfigured when the checkpoint is not the encoder's or changes meanwhile, or an engine is
    beyond a bound; nothing is published then, and what was there before stays.
    """
    name = name or encoder.name
    files.kind_of(checkpoint)
    hashed = files.mark(checkpoint)
    digest = files.digest(checkpoint, lambda done, size: told(STEPS[0], done / size))
    identity = identity_of(encoder, digest, compiler)
    with publishing.staging(repository, name) as folder:
        kept = publishing.manifest(repository, name)
        same = kept is not None and (kept.get("name"), kept.get("identity")) == (name, identity)
        if kept is not None and same and publishing.intact(repository, name):
            return Built(repository / name, kept, fresh=False)
        facts = _make(encoder, checkpoint, digest, folder, compiler=compiler, name=name, told=told)
        told(STEPS[10], 0.0)
        # Weights are mapped, not loaded: until here they could become others than those that the digest names.
        if files.mark(checkpoint) != hashed:
            raise Misconfigured(f"{checkpoint} changed while its engine was built: nothing was published; build again")
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
    readings = proving.compare_with_original(encoder)
    told(STEPS[3], 0.0)
    pixels = gates.pictures(encoder.input)
    expected = proving.reference(encoder, network, pixels)
    if expected.shape[1] != encoder.output.dim:  # Triton would be promised what no answer is
        raise Misconfigured(
            f"the network of {encoder.name} gives {expected.shape[1]} numbers, and its description says "
            f"{encoder.output.dim}: correct output.dim in its file"
        )
    work = folder / "work"
    readings += proving.graphs(encoder, network, work=work, pixels=pixels, expected=expected, told=told)
    backend, file = compiler.triton
    engine = folder / triton_config.version(encoder, encoder.identity(digest)) / file
    compiled = compiler.compile(work / "model.onnx", encoder, engine, lambda _phase, share: told(STEPS[8], share))
    told(STEPS[9], 0.0)
    answer = compiler.run(engine, pixels, batch=proving.batch_of(encoder))
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


def _versions() -> dict[str, str]:
    return {package: version(package) for package in _VERSIONS}
