"""Heat maps of drawn eyes against where their lesions were drawn, through Triton and the demonstration's own engine."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from eyestream.apps import bank
from eyestream.banks.build import build
from eyestream.banks.shelf import Shelf
from eyestream.decoding import Limits, Preprocessing, decode
from eyestream.encoders.triton import TritonEncoder
from eyestream.occlusion import CELLS
from eyestream.testing.badpictures.forge import dicom
from eyestream.testing.eyes import Eye, render
from eyestream.testing.messages import meta_for
from eyestream.web.engine import EngineRoom
from eyestream.web.explainer import LineExplainer

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
MODEL = "eyestream-demo"
SIZE = (480, 640)
SEEDS = (100, 102)
CHANGED = 14
"""Levels by which a lesion changes a pixel; less is the JPEG's own noise."""

Mask = npt.NDArray[np.bool_]


@pytest.fixture
async def explainer(triton_url: str, tmp_path: Path) -> AsyncIterator[LineExplainer]:
    encoder, preprocessing = bank.served(ROOT / "model_repository", MODEL)
    programme = bank.read("demo")
    tower = bank.tower(ROOT / "build_engines/demo/text")
    head = build(programme, tower, encoder_digest=encoder, preprocessing_digest=preprocessing)
    shelf = Shelf(tmp_path)
    shelf.publish(programme, head)
    shelf.activate("demo", head.digest)
    room = EngineRoom(lambda: TritonEncoder.connect(triton_url, MODEL), tmp_path, limits=Limits())
    yield LineExplainer(room)
    await room.close()


def jpeg(eye: Eye, seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(render(eye, seed, SIZE)).save(file, "JPEG", quality=92)
    return file.getvalue()


def framed(value: bytes) -> npt.NDArray[np.int64]:
    """As the engine sees it."""
    config = (ROOT / "model_repository" / MODEL / "config.pbtxt").read_text()
    assert '\\"crop\\":\\"field-of-view\\"' in config
    assert '\\"shape\\":\\"pad-square\\"' in config
    preprocessing = Preprocessing(crop="field-of-view", shape="pad-square")
    return decode(value, preprocessing=preprocessing, height=256, width=256, limits=Limits()).astype(np.int64)


def lesions(sick: bytes, healthy: bytes) -> tuple[Mask, Mask]:
    """The places that hold a lesion, and those of the field of view: eyes that share a seed differ only there."""
    one, other = framed(sick), framed(healthy)
    return places(abs(one - other).max(axis=2) > CHANGED, 0.02), places(one.sum(axis=2) > 40, 0.5)


def places(pixels: Mask, share: float) -> Mask:
    side = len(pixels) // CELLS
    return pixels.reshape(CELLS, side, CELLS, side).mean(axis=(1, 3)) > share


def about(mask: Mask) -> Mask:
    """The places and those beside them."""
    wide = np.pad(mask, 1)
    return np.any([wide[i : i + CELLS, j : j + CELLS] for i in range(3) for j in range(3)], axis=0)


@pytest.mark.parametrize(
    ("finding", "apart"),
    [("exudates", 0.9), ("drusen", 0.85), ("microaneurysms", 0.7), ("haemorrhages", 0.65), ("large-cup", 0.95)],
)
async def test_a_heat_map_points_at_the_lesions_that_were_drawn(explainer: LineExplainer, finding: str, apart: float):
    """`apart`: how often, at the least, a place with a lesion speaks louder for it than one without; 0.5 is chance."""
    pointed, chance, louder = [], [], []
    for seed in SEEDS:
        sick, healthy = (
            jpeg(Eye("R", "macula", findings, severity=0.25), seed) for findings in (frozenset({finding}), frozenset())
        )
        explanation = await explainer.explain(sick, meta_for(sick), content_type="image/jpeg")
        heat = explanation.lost[..., explanation.conditions.index(finding)]
        lesion, field = lesions(sick, healthy)
        near = about(lesion)
        pointed.append(near.flat[heat.argmax()])
        chance.append(near.sum() / field.sum())
        inside, outside = heat[lesion & field], heat[~near & field]
        louder.append((inside[:, None] > outside[None]).mean())
    assert all(pointed)
    assert np.mean(chance) < 0.55
    assert np.mean(louder) > apart


async def test_the_same_eye_without_the_lesions_has_nothing_to_point_at_there(explainer: LineExplainer):
    sick, healthy = (
        jpeg(Eye("R", "macula", findings, severity=0.25), 100) for findings in (frozenset({"exudates"}), frozenset())
    )
    assert hashlib.sha256(sick).digest() != hashlib.sha256(healthy).digest()
    strongest = []
    for value in (sick, healthy):
        explanation = await explainer.explain(value, meta_for(value), content_type="image/jpeg")
        strongest.append(explanation.lost[..., explanation.conditions.index("exudates")].max())
    assert strongest[0] > 2 * strongest[1]


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "dicom"])
async def test_whatever_a_camera_wrote_is_seen_in_the_engines_frame(explainer: LineExplainer, kind: str):
    pixels = render(Eye(), 7, SIZE)
    file = io.BytesIO()
    if kind == "dicom":
        file.write(dicom(*SIZE, pixels.tobytes(), photometric=b"RGB", samples=3))
    else:
        Image.fromarray(pixels).save(file, kind)
    value = file.getvalue()
    kinds = {"dicom": "application/dicom"}
    seen = await explainer.seen(value, meta_for(value), side=1000, content_type=kinds.get(kind, f"image/{kind}"))
    image = Image.open(io.BytesIO(seen))
    assert (image.format, image.size) == ("JPEG", (1024, 1024))
    small = np.asarray(image.resize((256, 256), Image.Resampling.BOX), np.int64)
    assert abs(small - framed(value)).mean() < 4
