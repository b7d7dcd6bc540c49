"""A site whose pods can do the work: the Kafka, the Redis and the Triton of a drill's ground. Knows no operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from controlplane.cluster import ControlPlane
from sites import Object, Site

from eyestream.apps.drills.ground import PLAIN, Ground


@contextlib.contextmanager
def line_site(plane: ControlPlane, ground: Ground, *, pictures: int, nodes: int) -> Iterator[Site]:
    """A site whose secret names the ground's Redis; banks are on the ground's shelf and so many pictures are drawn."""
    ground.host(PLAIN)  # its first start fills the shelf
    ground.stack.stop(PLAIN)
    ground.prepare(pictures)
    with Site(plane, redis_url=ground.stack.endpoints.redis_url) as site:
        site.nodes(nodes)
        yield site


def line_values(ground: Ground, settings: Object, **more: Object) -> Object:
    """Values over the shape `external-triton`: the ground's servers, and `settings` beside where they are."""
    at, kafka = ground.stack.endpoints, ground.settings.kafka
    return {
        "fullnameOverride": "eyes-eyestream",
        "settings": {
            "kafka": {"bootstrap": at.kafka, "topic": kafka.topic, "group": kafka.group},
            "triton": {"model": ground.model},
            **settings,
        },
        "triton": {"external": at.triton_grpc},
        **more,
    }
