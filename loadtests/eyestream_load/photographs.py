"""The eyes that a load test shows, drawn once into a folder, and what an encoder makes of each.

Every camera shows the same few, so what each must say is known before, and a result that belongs to another picture is
found.
"""

from __future__ import annotations

import fcntl
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from eyestream import records
from eyestream.decoding import Limits, Preprocessing
from eyestream.encoders.base import EncoderSpec
from eyestream.intake import Intake
from eyestream.records import HEADER_CONTENT_TYPE, HEADER_META, HEADER_TRACEPARENT, Message, Pixels, Position
from eyestream.telemetry import new_traceparent
from eyestream.testing.eyes import random_eye, render
from eyestream.testing.messages import meta_for
from eyestream_load.scenario import Scenario

_QUALITY: Final = 92


def draw(folder: Path, scenario: Scenario) -> list[Path]:
    """The scenario's photographs as JPEG files; the same scenario draws the same ones. Programs may call it at once."""
    wanted = scenario.photographs
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03d}.jpg" for number in range(wanted.distinct)]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rng = np.random.default_rng([scenario.seed, 0])
        for number, file in enumerate(files):
            eye = random_eye(rng)
            if file.exists():
                continue
            drawn = io.BytesIO()
            pixels = render(eye, scenario.seed * 1000 + number, size=(wanted.height, wanted.width))
            Image.fromarray(pixels).save(drawn, "JPEG", quality=_QUALITY)
            scratch = file.with_suffix(".part")
            scratch.write_bytes(drawn.getvalue())
            scratch.replace(file)
    return files


def decoded(files: Sequence[Path], spec: EncoderSpec, *, programme: str) -> Pixels:
    """The photographs as the line would hand them to this encoder, [n, height, width, 3]."""
    intake = Intake(
        preprocessing=Preprocessing.from_json(spec.preprocessing),
        height=spec.height,
        width=spec.width,
        limits=Limits(),
    )
    return np.stack([intake.capture(_message(file, programme), {programme}).pixels for file in files])


def _message(file: Path, programme: str) -> Message:
    value = file.read_bytes()
    headers = {
        HEADER_META: meta_for(value, programme=programme).to_header(),
        HEADER_CONTENT_TYPE: b"image/jpeg",
        HEADER_TRACEPARENT: new_traceparent().encode(),
    }
    at = records.now()
    return Message(value, headers, Position("load-test", 0, 0), produced=at, fetched=at)
