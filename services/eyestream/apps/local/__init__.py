"""The whole system on one machine: real Kafka, Redis and Triton without Docker, a JDK or root."""

from __future__ import annotations

from eyestream.apps.local.base import Command, Endpoints, Part, PartFailed, PartStatus, Place
from eyestream.apps.local.kafka import Kafka, Topic
from eyestream.apps.local.redis import Redis
from eyestream.apps.local.stack import PARTS, Stack
from eyestream.apps.local.triton import Triton

__all__ = [
    "PARTS",
    "Command",
    "Endpoints",
    "Kafka",
    "Part",
    "PartFailed",
    "PartStatus",
    "Place",
    "Redis",
    "Stack",
    "Topic",
    "Triton",
]
