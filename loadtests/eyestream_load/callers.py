"""A child program: sends whole batches to Triton as the line does, and holds each answer against a picture alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eyestream import records
from eyestream import settings as settings_module
from eyestream.encoders.triton import CANARY_TOLERANCE, TritonEncoder
from eyestream.errors import EyestreamError
from eyestream.records import Pixels, Vectors
from eyestream_load import lines, photographs
from eyestream_load.scenario import Scenario


async def _program() -> None:
    opening = await asyncio.to_thread(sys.stdin.readline)
    told = lines.read(opening)
    scenario, folder = Scenario.model_validate(told["scenario"]), Path(told["folder"])
    files = await asyncio.to_thread(photographs.draw, folder / "photographs", scenario)
    triton = settings_module.load().triton
    encoder = await TritonEncoder.connect(triton.address, triton.model, timeout_s=triton.timeout_s)
    try:
        pixels = photographs.decoded(files, encoder.spec, programme=scenario.programme)
        alone = np.concatenate([await encoder.encode(one[None]) for one in pixels])
        lines.tell("ready")
        async with asyncio.TaskGroup() as tasks:
            while line := await asyncio.to_thread(sys.stdin.readline):
                tasks.create_task(_encode(encoder, lines.read(line), pixels, alone))
    finally:
        await encoder.close()


async def _encode(encoder: TritonEncoder, order: dict[str, Any], pixels: Pixels, alone: Vectors) -> None:
    chosen: Sequence[int] = order["photographs"]
    try:
        vectors = await encoder.encode(pixels[chosen])
    except EyestreamError as error:
        lines.tell("encoded", meant=order["meant"], at=records.now(), failed=str(error))
        return
    drift = float(np.abs(vectors - alone[chosen]).max())
    wrong = f"an embedding moved by {drift:.3f} in its batch" if drift > CANARY_TOLERANCE else None
    lines.tell("encoded", meant=order["meant"], at=records.now(), contradicted=wrong)


def main() -> None:
    """Run it."""
    lines.run(lambda: asyncio.run(_program()))


if __name__ == "__main__":
    main()
