"""The local stack's parts, killed, mended, stopped and started as a person would."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as triton

from eyestream.apps.local import Stack

pytestmark = pytest.mark.stack


def embed(url: str, pixels: np.ndarray) -> np.ndarray:
    tensor = triton.InferInput("pixels", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    with triton.InferenceServerClient(url) as client:
        return client.infer("tiny", [tensor], client_timeout=10).as_numpy("embedding")


def test_every_part_runs_and_was_used(stack: Stack):
    assert [(part.name, part.state) for part in stack.status()] == [
        ("kafka", "running"),
        ("redis", "running"),
        ("triton", "running"),
    ]


def test_triton_serves_the_production_layout_through_onnx_runtime(triton_url: str):
    pixels = np.random.default_rng(7).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(embed(triton_url, pixels), pixels.mean(axis=(1, 2)), rtol=1e-3)


def test_a_topic_fixture_makes_the_topic_and_its_dead_letters(topic: str, kafka_bootstrap: str):
    from kafka.admin import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    try:
        assert {topic, f"{topic}.dlq"} <= set(admin.list_topics())
    finally:
        admin.close()
