"""Object stores are tried before a program begins: the first large picture must not be what ends it."""

from __future__ import annotations

import asyncio

import pytest

from eyestream.apps import device_options, stores, web_wiring, wiring
from eyestream.errors import Misconfigured
from eyestream.settings import Settings
from eyestream.telemetry import Metrics, WebMetrics


@pytest.mark.parametrize("store", ["/mnt/pictures", "file:///mnt/pictures", "memory://pictures"])
def test_a_store_that_can_be_spoken_to_passes(store):
    stores.require([store], named="--store")
    assert device_options.object_store(store) == store


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("https://pictures.example/", r"object stores are one of .*, not https://"),
        ("S3://pictures/", r"object stores are one of .*, not S3://"),
        ("s3://pictures/../others", "has no '..', query"),
        ("gs://pictures", r"gs:// needs fsspec's package for it \(s3fs, gcsfs, adlfs\)"),
    ],
)
def test_one_that_cannot_is_told_by_its_name_and_the_settings(store, says):
    with pytest.raises(Misconfigured, match=f"^--store '{store}': .*{says}"):
        device_options.object_store(store)


def settings():
    return Settings.model_validate(
        {
            "kafka": {"bootstrap": "127.0.0.1:1"},
            "triton": {"address": "127.0.0.1:1", "model": "flair"},
            "redis": {"url": "redis://127.0.0.1:1/0"},
            "banks": {"shelf": "/banks"},
            "pictures": {"references": ["/mnt/pictures", "https://pictures.example/"]},
        }
    )


async def _serve():
    async with web_wiring.services(settings(), WebMetrics()):
        raise AssertionError


@pytest.mark.parametrize("begin", [lambda: wiring.connect(settings(), Metrics()), _serve])
def test_neither_a_worker_nor_the_results_service_begins_with_one(begin):
    with pytest.raises(Misconfigured, match=r"^pictures\.references 'https://pictures\.example/'"):
        asyncio.run(begin())
