"""The demo model on disk: one half-precision checkpoint, the exported towers, the served model. Knows no training."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch

from eyestream.banks.onnx import GRAPH, VOCABULARY, Vocabulary
from eyestream.records import Pixels
from eyestream_engines import triton_config
from eyestream_engines.demo.learning import Model
from eyestream_engines.demo.network import ImageTower, TextTower
from eyestream_engines.demo.texts import vocabulary
from eyestream_engines.export import check_parity, export_image, export_text
from eyestream_engines.inference import embed
from eyestream_engines.spec import SHELF, EncoderFile

log = logging.getLogger(__name__)

REPOSITORY: Final = SHELF.parent / "model_repository"
"""What Triton loads."""
GOLDEN: Final = SHELF / "demo" / "golden.json"
"""The embedding of one picture of noise, by which anyone can tell that a served engine is this one."""
GOLDEN_SEED: Final = 7


def build(encoder: EncoderFile, vocab: Vocabulary) -> Model:
    """An untrained model of the encoder's sizes."""
    dim = encoder.output.dim
    return Model(
        ImageTower(dim, encoder.input.mean, encoder.input.std),
        TextTower(vocab.rows, dim, max_words=vocab.max_words),
        dim,
    )


def save(encoder: EncoderFile, model: Model) -> None:
    """Write the checkpoint in half precision, and keep the model at the very numbers that were written."""
    from safetensors.torch import save_file

    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    encoder.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, encoder.checkpoint_path)
    model.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)


def load(encoder: EncoderFile) -> Model:
    """The model of the checkpoint; raises RuntimeError when a key is missing or too many."""
    from safetensors.torch import load_file

    model = build(encoder, vocabulary())
    state = {name: value.float() for name, value in load_file(encoder.checkpoint_path).items()}
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters, strict=True)
    model.eval()
    return model


def publish(
    encoder: EncoderFile, model: Model, vocab: Vocabulary, pictures: Pixels, *, repository: Path = REPOSITORY
) -> Path:
    """Export both towers, hold the image tower against torch on `pictures` and noise, and write the served model.

    Returns the path of the image graph. Raises Misconfigured when the graph is not the network.
    """
    served = repository / encoder.name
    graph = served / triton_config.version(encoder, encoder.digest()) / "model.onnx"
    size = encoder.input
    export_image(model.image, graph, height=size.height, width=size.width)
    noise = np.random.default_rng(0).integers(0, 256, (4, size.height, size.width, 3), dtype=np.uint8)
    check_parity(model.image, graph, np.concatenate([pictures, noise]), encoder.tolerance)
    (served / "config.pbtxt").write_text(triton_config.render(encoder, encoder.digest()))
    for former in served.glob("*/"):
        if former != graph.parent:
            shutil.rmtree(former)
    assert encoder.text is not None
    folder = SHELF / encoder.text.folder
    export_text(model.text, folder / GRAPH)
    (folder / VOCABULARY).write_text(json.dumps(asdict(vocab), indent=1) + "\n")
    golden = {"seed": GOLDEN_SEED, "checkpoint": encoder.digest(), "embedding": _golden(encoder, graph)}
    GOLDEN.write_text(json.dumps(golden) + "\n")
    return graph


def _golden(encoder: EncoderFile, graph: Path) -> list[float]:
    shape = (1, encoder.input.height, encoder.input.width, 3)
    pixels = np.random.default_rng(GOLDEN_SEED).integers(0, 256, shape, dtype=np.uint8)
    return [round(float(number), 5) for number in embed(graph, pixels)[0]]


def scale_and_bias(model: Model) -> tuple[float, float]:
    """The numbers that make a cosine the log-odds of a text."""
    with torch.no_grad():
        return float(model.scale.exp()), float(model.bias)
