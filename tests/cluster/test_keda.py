"""Workers that follow the lag of a real Kafka, as the real KEDA reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Self

import pytest
from controlplane.cluster import ControlPlane
from controlplane.operators import Keda, KedaAdapter
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from sites import Site, wait_until

PARTITIONS = 3
TOPIC = "screening.images"
GROUP = "eyestream-screening"


@pytest.fixture(scope="module")
def scaled_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same plane, with KEDA and a Kafka beside it; the plane's own `down` ends them too."""
    beside = ["kafka", Keda(plane.keys), KedaAdapter(plane.keys)]
    scaled = ControlPlane(plane.state, beside=beside, partitions=PARTITIONS)
    scaled.up()
    yield scaled
    scaled.close()


@pytest.fixture
def site(scaled_plane: ControlPlane) -> Iterator[Site]:
    with Site(scaled_plane) as site:
        yield site


@pytest.fixture
def bootstrap(scaled_plane: ControlPlane) -> str:
    return scaled_plane.stack.endpoints.kafka


def test_pain_15_workers_follow_the_lag_to_the_partitions_and_back_to_one(site: Site, bootstrap: str):
    site.nodes(2)
    site.install("plain-keda", values(bootstrap))
    wait_until(lambda: site.ready("screening") == 1, "one worker while nothing waits")
    with Highest(site) as highest:
        send(bootstrap, 600)
        wait_until(lambda: site.ready("screening") == PARTITIONS, "a worker for each partition", within_s=120)
        time.sleep(12)  # four looks of the autoscaler, with a lag for 60 workers
        acknowledge(bootstrap)
        wait_until(lambda: site.ready("screening") == 1, "one worker again", within_s=240)
    assert highest.seen == PARTITIONS


def test_pain_2_an_upgrade_under_a_scaled_fleet_leaves_its_number_alone(site: Site, bootstrap: str):
    site.nodes(2)
    send(bootstrap, 600)
    site.install("plain-keda", values(bootstrap))
    wait_until(lambda: site.ready("screening") == PARTITIONS, "a worker for each partition", within_s=120)
    lowest = PARTITIONS
    stop = threading.Event()

    def watch() -> None:
        nonlocal lowest
        while not stop.wait(0.05):
            lowest = min(lowest, site.ready("screening"))

    watching = threading.Thread(target=watch)
    watching.start()
    site.upgrade("plain-keda", {**values(bootstrap), "images": {"screening": {"tag": "0.1.1"}}})
    stop.set()
    watching.join()
    assert lowest == PARTITIONS, "a surge of one and none missing"
    acknowledge(bootstrap)


def test_pain_15_a_kafka_that_cannot_be_asked_takes_no_worker_away(site: Site, bootstrap: str):
    site.nodes(2)
    send(bootstrap, 600)
    site.install("plain-keda", values(bootstrap))
    wait_until(lambda: site.ready("screening") == PARTITIONS, "a worker for each partition", within_s=120)
    stack = site.plane.stack
    stack.stop("kafka")
    try:
        for _ in range(30):  # longer than three failed looks and the scale-down window
            time.sleep(1)
            assert site.ready("screening") == PARTITIONS
    finally:
        stack.start("kafka")
    acknowledge(bootstrap)


def values(bootstrap: str) -> dict[str, object]:
    """The shape, small: one to three workers, one for each ten pictures, and without Prometheus."""
    return {
        "settings": {
            "kafka": {"bootstrap": bootstrap},
            "serve": {"replicas": 1, "max_replicas": PARTITIONS, "lag_per_replica": 10},
        },
        "kafka": {"partitions": PARTITIONS},
        "screening": {"keda": {"enabled": True, "pollingSeconds": 2, "scaleDownSeconds": 5}},
        "gpus": {"a100": {"product": "NVIDIA-H100-80GB-HBM3"}},
        "triton": {"pools": {"main": {"autoscaling": {"enabled": False}, "replicas": 1}}},
        "monitoring": {kind: {"enabled": False} for kind in ("podMonitor", "rules", "dashboards")},
        "web": {"enabled": False},
    }


class Highest:
    """The most workers that the Deployment ever asked for while the block ran."""

    def __init__(self, site: Site) -> None:
        self.seen = 0
        self._path = site.of("apps/v1", "deployments", "eyes-eyestream-screening")
        self._api = site.plane.api
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._halted.wait(0.2):
            self.seen = max(self.seen, self._api.get(self._path)["spec"]["replicas"])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halted.set()
        self._thread.join()


def send(bootstrap: str, count: int) -> None:
    """Messages that no worker reads: the cluster's pods run nothing."""
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for number in range(count):
        producer.send(TOPIC, b"picture", partition=number % PARTITIONS)
    producer.flush()
    producer.close()


def acknowledge(bootstrap: str) -> None:
    """The group has everything, as its workers would have said."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=GROUP, enable_auto_commit=False)
    partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    consumer.commit({partition: OffsetAndMetadata(end, "", -1) for partition, end in ends.items()})
    consumer.close()
