"""The control plane as one thing: up, down, and the tools to speak to it. Knows no chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from chartkit import tools

from controlplane.access import Api, Failed, kubectl, run
from controlplane.parts import ApiServer, ControllerManager, Etcd, Keys, Kwok, Scheduler
from eyestream.apps.local import Stack, ports
from eyestream.apps.local.base import Part, Progress

__all__ = ["ControlPlane", "Failed"]


class ControlPlane:
    """Real Kubernetes without containers, in one state folder; `beside` are further parts of a local stack.

    Built-in ones of `beside`, such as "kafka", start first; objects start last, in their order. Opened again on its
    folder it finds the same processes; `up` ends those that a killed run left in a bad state, `down` ends all.
    """

    def __init__(self, state: Path, *, beside: Sequence[str | Part] = (), partitions: int = 4) -> None:
        self.state = state.resolve()
        self.keys = Keys(self.state / "keys")
        own = [kind(self.keys) for kind in (Etcd, ApiServer, ControllerManager, Scheduler, Kwok)]
        first = [part for part in beside if isinstance(part, str)]
        last = [part for part in beside if not isinstance(part, str)]
        self.stack = Stack(self.state, model_repository=self.state, parts=[*first, *own, *last], partitions=partitions)
        self._api: Api | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self, progress: Progress | None = None) -> None:
        """Return once a pod was placed and ran. Raises like `Stack.up`."""
        self.stack.up(progress)

    def down(self) -> None:
        """End every process. Idempotent."""
        self.close()
        self.stack.down()

    def close(self) -> None:
        """Let connections go; every process stays. Idempotent."""
        if self._api is not None:
            self._api.close()
            self._api = None

    @property
    def api(self) -> Api:
        """A client that may do anything."""
        if self._api is None:
            self._api = self.keys.api(self._ports)
        return self._api

    @property
    def kubeconfig(self) -> Path:
        """Lets any tool in as the administrator."""
        return self.keys.administrator(self._ports)

    def user(self, name: str) -> Path:
        """Lets any tool in under that name, which may do what role bindings of the cluster allow it."""
        return self.keys.kubeconfig(name, self._ports)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl printed. Raises Failed."""
        return kubectl(self.kubeconfig, *arguments, given=given)

    def helm(self, *arguments: str, values: dict[str, Any] | None = None) -> str:
        """What Helm printed; `values` go over those of the arguments. Raises Failed."""
        more = [] if values is None else ["-f", "-"]
        given = None if values is None else yaml.safe_dump(values)
        return run([str(tools.helm()), *arguments, *more, "--kubeconfig", str(self.kubeconfig)], given)

    def apply(self, objects: Sequence[dict[str, Any]], *, manager: str = "tests") -> str:
        """Server-side apply; a conflict raises Failed."""
        text = "\n---\n".join(json.dumps(item) for item in objects)
        return self.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", given=text)

    @property
    def _ports(self) -> dict[str, int]:
        return dict(ports.read(self.state / "ports.json"))
