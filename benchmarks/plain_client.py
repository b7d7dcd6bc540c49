"""The script most people would write first: one picture at a time, every library as its tutorial shows it.

A contestant of run.py. Its offsets are committed by a timer, so a crash may lose pictures or screen them twice, and one
picture that cannot be read ends it.
"""

from __future__ import annotations

import io
import json
import time

import numpy as np
import redis
from contest import arguments
from kafka import KafkaConsumer
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput


def main() -> None:
    """Screen until killed."""
    options = arguments()
    prompts = np.load(options.prompts)
    consumer = KafkaConsumer(
        options.topic,
        bootstrap_servers=options.kafka,
        group_id=options.group,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * 2**20,  # the default, 1 MiB, cannot hold one of these pictures
    )
    triton = InferenceServerClient(options.triton)
    store = redis.Redis.from_url(options.redis)
    for record in consumer:
        meta = json.loads(dict(record.headers)["eyestream-meta"])
        picture = Image.open(io.BytesIO(record.value)).convert("RGB").resize((options.size, options.size))
        pixels = np.asarray(picture)[None]
        tensor = InferInput("pixels", list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels)
        embedding = triton.infer(options.model, [tensor]).as_numpy("embedding")[0].astype(np.float32)
        scores = np.exp(100 * prompts["vectors"] @ embedding)
        result = dict(zip(prompts["names"].tolist(), (scores / scores.sum()).tolist(), strict=True))
        store.set(f"result:{meta['image_id']}", json.dumps({"scores": result, "stored": time.time()}))


if __name__ == "__main__":
    main()
