"""The best short script we know: three threads, whole batches, scaled decode, offsets committed after the write.

A contestant of run.py, tuned like the line: the same decode scale, batch and Triton instances, large fetches. What it
does not promise: a picture that cannot be read ends it, results are overwritten, nothing is retried.
"""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import redis
import simplejpeg
from confluent_kafka import Consumer
from contest import arguments
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput

BATCH, THREADS = 8, 3


def work(options, prompts):  # noqa: ANN001, ANN201
    """One member of the group, from fetch to commit."""
    consumer = Consumer(
        {
            "bootstrap.servers": options.kafka,
            "group.id": options.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "max.partition.fetch.bytes": 16 * 2**20,
            "fetch.max.bytes": 32 * 2**20,
            "queued.max.messages.kbytes": 32 * 2**10,
            "fetch.queue.backoff.ms": 20,
        }
    )
    consumer.subscribe([options.topic])
    triton = InferenceServerClient(options.triton)
    store = redis.Redis.from_url(options.redis)
    while True:
        records = [record for record in consumer.consume(BATCH, timeout=0.5) if not record.error()]
        if not records:
            continue
        pixels = np.stack([decode(record.value(), options.size) for record in records])
        tensor = InferInput("pixels", list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels)
        embeddings = triton.infer(options.model, [tensor]).as_numpy("embedding").astype(np.float32)
        scores = np.exp(100 * embeddings @ prompts["vectors"].T)
        scores /= scores.sum(axis=1, keepdims=True)
        pipeline, now = store.pipeline(transaction=False), time.time()
        for record, row in zip(records, scores.tolist(), strict=True):
            meta = json.loads(dict(record.headers())["eyestream-meta"])
            result = {"scores": dict(zip(prompts["names"].tolist(), row, strict=True)), "stored": now}
            pipeline.set(f"result:{meta['image_id']}", json.dumps(result))
        pipeline.execute()
        consumer.commit(asynchronous=False)


def decode(value: bytes, size: int) -> np.ndarray:
    """At the smallest scale that covers the encoder's input, then exactly to it."""
    pixels = simplejpeg.decode_jpeg(value, min_height=size, min_width=size, min_factor=1)
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    given = arguments()
    for _ in range(THREADS):
        threading.Thread(target=work, args=(given, dict(np.load(given.prompts)))).start()
