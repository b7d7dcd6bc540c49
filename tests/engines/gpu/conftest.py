"""An encoder of a few numbers as a graph, and what a row needs of one: seconds, where a published one takes minutes."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def made(tiny, tiny_weights, tmp_path_factory):
    """The tiny encoder with its strongly typed graph, as `making` hands it over."""
    import torch

    from eyestream.records import Digest
    from eyestream_engines import export, gates, precision, proving, triton_config
    from eyestream_engines.families import family_of
    from eyestream_engines.gpu.making import Made

    network = family_of(tiny).module(tiny, tiny_weights)
    nobody = Digest("0" * 64)
    model = tmp_path_factory.mktemp("made") / "repository" / "tiny"
    engine = model / triton_config.version(tiny, nobody) / "model.onnx"
    graph = export.to_graph(tiny, export.Engine(tiny, network))
    precision.halve(graph)
    export.save(graph, engine)
    (model / "config.pbtxt").write_text(triton_config.render(tiny, nobody))
    pictures = gates.pictures(tiny.input)
    with torch.inference_mode():
        expected = proving.reference(tiny, network, pictures)
    return Made(tiny, network, model.parent, engine, pictures, expected, (), {"bytes": 1})


@pytest.fixture
def vectors(made):
    """What the graph answers to the pictures."""
    from eyestream_engines.inference import embed

    return np.asarray(embed(made.engine, made.pictures, batch=2))
