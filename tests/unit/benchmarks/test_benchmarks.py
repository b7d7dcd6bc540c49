from __future__ import annotations

import importlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


class EvenMeter:
    """Every group takes half a core."""

    def between(self, begin, end):
        return {"triton": 0.5 * (end - begin), "line": 0.5 * (end - begin)}, 0.25


def test_a_rate_counts_whole_batches_between_two_of_them(benchmark_module):
    measuring = benchmark_module("measuring")
    stamps = [second for second in np.arange(0, 20, 0.4) for _ in range(8)]
    rate = measuring.rate(stamps, EvenMeter(), skip_s=1.5, seconds=6.1)
    assert rate.per_s == pytest.approx(8 / 0.4)
    assert rate.total_ms == pytest.approx(1000 / 20)
    assert rate.strangers == 0.25


def test_no_rate_is_made_of_two_batches(benchmark_module):
    measuring = benchmark_module("measuring")
    with pytest.raises(ValueError, match="too few"):
        measuring.rate([0.0, 0.0, 1.0, 1.0], EvenMeter(), skip_s=0, seconds=6)


def test_a_varied_file_is_another_file_of_the_same_picture(benchmark_module):
    photographs = benchmark_module("photographs")
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(out, "JPEG")
    files = [photographs.varied(out.getvalue(), number) for number in range(3)]
    assert len({*files, out.getvalue()}) == 4
    pictures = [np.asarray(Image.open(io.BytesIO(file))) for file in [out.getvalue(), *files]]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_an_exam_stays_in_its_partition_and_every_picture_is_its_own(benchmark_module):
    photographs = benchmark_module("photographs")
    out = io.BytesIO()
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(out, "JPEG")
    sent = list(photographs.messages([out.getvalue()], 48))
    assert {partition for partition, _, _ in sent} == set(range(photographs.PARTITIONS))
    assert all(len({partition for partition, _, _ in sent[i : i + 4]}) == 1 for i in range(0, 48, 4))
    assert len({value for _, value, _ in sent}) == 48


def test_the_vision_transformer_gives_unit_vectors_that_depend_on_the_picture_alone(benchmark_module):
    import onnxruntime

    vit = benchmark_module("vit")
    session = onnxruntime.InferenceSession(vit.graph().SerializeToString())
    pixels = np.random.default_rng(1).integers(0, 256, (3, vit.SIZE, vit.SIZE, 3), dtype=np.uint8)
    (together,) = session.run(None, {"pixels": pixels})
    (alone,) = session.run(None, {"pixels": pixels[1:2]})
    assert together.shape == (3, vit.DIM)
    assert np.linalg.norm(together.astype(np.float32), axis=1) == pytest.approx(1, abs=2e-3)
    assert np.abs(together[1] - alone[0]).max() < 2e-3
    assert np.abs(together[1] - together[0]).max() > 1e-3


def test_a_ratio_is_taken_within_each_round(benchmark_module):
    tables, measuring = benchmark_module("tables"), benchmark_module("measuring")
    ones = [measuring.Rate(speed, 1) for speed in (10.0, 30.0, 50.0)]
    others = [measuring.Rate(speed, 1) for speed in (5.0, 15.0, 100.0)]
    assert tables.median_ratio(ones, others) == 2.0
