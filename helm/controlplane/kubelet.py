"""Plays the kubelets for some pods of a namespace: what is placed runs here as a process. Knows no chart.

kwok says at once that such a pod runs and is ready; this starts and ends the process that belongs to it, and holds the
pod until its process has ended, as a kubelet does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx

from controlplane.access import Api
from controlplane.played import Played, PlayedPod
from eyestream.apps.local import Stack
from eyestream.errors import EyestreamError

Object = dict[str, Any]

HOLDS: Final = "eyestream.io/played"
"""The finalizer that keeps a pod until its process has ended."""
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pod's process went: asked with SIGTERM, it took so long, of so much that it had."""

    pod: str
    took_s: float
    grace_s: float

    @property
    def orderly(self) -> bool:
        """It was not killed."""
        return self.took_s < self.grace_s


class Kubelet:
    """Runs every pod with the labels of `selector` as long as it is there; a context manager.

    `claims` says which folder a claim is. Each pod has a state folder of its own below `state`, with its log.
    """

    def __init__(self, api: Api, namespace: str, selector: str, *, state: Path, claims: Mapping[str, Path]) -> None:
        self._api, self._namespace, self._selector = api, namespace, selector
        self._state, self._claims = state, claims
        self._running: dict[str, threading.Thread] = {}
        self._ready: set[str] = set()
        self._leaving: set[str] = set()
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kubelet", daemon=True)
        self.ended: list[Ended] = []
        self.faults: list[str] = []

    @property
    def ready(self) -> set[str]:
        """The pods whose processes answer their readiness probes and were not asked to end."""
        return self._ready - self._leaving

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halted.set()
        self._thread.join()
        for thread in self._running.values():
            thread.join()

    def _watch(self) -> None:
        while not self._halted.wait(_LOOK_S):
            try:
                pods = list(self._api.pods(self._namespace, self._selector))
            except httpx.HTTPError as error:
                self.faults.append(f"the pods cannot be listed: {error}")
                continue
            self._leaving.update(_uid(pod) for pod in pods if "deletionTimestamp" in pod["metadata"])
            for pod in pods:
                if _uid(pod) not in self._running and pod.get("status", {}).get("phase") == "Running":
                    thread = threading.Thread(target=self._run, args=[pod], daemon=True)
                    self._running[_uid(pod)] = thread
                    thread.start()

    def _run(self, pod: Object) -> None:
        name, uid = pod["metadata"]["name"], _uid(pod)
        path = f"/api/v1/namespaces/{self._namespace}/pods/{name}"
        try:
            self._api.merge(path, {"metadata": {"finalizers": [HOLDS]}})
        except httpx.HTTPStatusError:
            return  # it went before it began
        grace_s = float(pod["spec"]["terminationGracePeriodSeconds"])
        try:
            self._play(pod, name, uid, grace_s)
        except (EyestreamError, OSError, httpx.HTTPError) as error:
            self.faults.append(f"{name}: {error}")
        finally:
            self._ready.discard(uid)
            with contextlib.suppress(httpx.HTTPStatusError):  # it may have been taken away by force
                self._api.merge(path, {"metadata": {"finalizers": None}})

    def _play(self, pod: Object, name: str, uid: str, grace_s: float) -> None:
        part = PlayedPod(
            "pod",
            Played.read(self._api, pod, self._claims),
            "http://127.0.0.1:{metrics}/metrics",
            changes={"EYESTREAM_TELEMETRY__METRICS_PORT": "{metrics}"},
            ports=("metrics",),
            stops_within_s=grace_s,
        )
        state = self._state / uid
        state.mkdir(parents=True)
        with Stack(state, model_repository=state, parts=[part]) as stack:
            stack.up()
            self._ready.add(uid)
            while uid not in self._leaving and not self._halted.is_set():
                if not stack.pids("pod"):
                    self.faults.append(f"{name} ended by itself: see {stack.log('pod')}")
                    return
                time.sleep(_LOOK_S)
            asked = time.monotonic()
            stack.stop("pod")
            self.ended.append(Ended(name, time.monotonic() - asked, grace_s))


def _uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])
