"""A built model in the real Triton: it loads what we rendered and answers what the graph says."""

from __future__ import annotations

import asyncio

import numpy as np
import torch

from eyestream.apps.local import Stack
from eyestream.encoders.triton import TritonEncoder
from eyestream_engines import building, compilers, files, gates
from eyestream_engines.inference import embed


def test_triton_serves_the_engine_under_its_name_digest_and_preparation(tiny, tiny_weights, tmp_path):
    checkpoint, repository = tmp_path / "tiny.pth", tmp_path / "model_repository"
    torch.save(tiny_weights, checkpoint)
    built = building.build(tiny, checkpoint, repository, compiler=compilers.choose("onnxruntime"), name="retina")
    pixels = gates.pictures(tiny.input, 4)

    async def ask(address):
        encoder = await TritonEncoder.connect(address, "retina", timeout_s=60)
        try:
            return encoder.spec, await encoder.encode(pixels)
        finally:
            await encoder.close()

    with Stack(tmp_path / "state", model_repository=repository, parts=("triton",)) as stack:
        spec, answer = asyncio.run(ask(stack.up().triton_grpc))
    assert spec.digest == files.digest(checkpoint)
    assert (spec.height, spec.width, spec.dim, spec.max_batch) == (32, 32, 32, 4)
    assert type(tiny.preprocessing).from_json(spec.preprocessing) == tiny.preprocessing
    assert np.allclose(answer, embed(next(built.folder.glob("*/model.onnx")), pixels), atol=1e-3)
