"""The Serve application as KubeRay builds it from `serveConfigV2`. Knows no Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eyestream import settings as settings_module
from eyestream.apps import screening
from eyestream.settings import Settings


def build(args: dict[str, str]) -> Any:
    """The application for `args: {settings: FILE}`; one worker a node: its memory and metrics port are a pod's own.

    Asks Kafka for the topic's partitions when workers follow the lag. Raises Misconfigured for settings that are wrong.
    """
    settings = settings_module.load(Path(args["settings"]))
    from ray import serve

    chosen = options(settings, partitions=screening.partitions(settings))
    return serve.deployment(screening.Screening).options(**chosen).bind(settings)


def options(settings: Settings, *, partitions: int | None) -> dict[str, Any]:
    """The deployment's options: the worker's own, and a CPU of the node that no second worker gets."""
    one_a_node = {"ray_actor_options": {"num_cpus": 1}, "max_replicas_per_node": 1}
    return screening.options(settings, partitions=partitions) | one_a_node
