"""What a test of the chart stands on: a namespace, nodes with GPUs, the claims and secrets that a user brings."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from chartkit import render
from controlplane.access import ready
from controlplane.cluster import ControlPlane
from controlplane.nodes import node, volume

from eyestream.apps.local import Stack

Object = dict[str, Any]
H100 = "NVIDIA-H100-80GB-HBM3"
STATES = Path(__file__).resolve().parents[2] / ".eyestream" / "cluster"
"""Not pytest's temporary folder: what a killed run leaves running must be found by the next one."""
CHART = str(render.CHART)
CLAIMS = ("banks", "checkpoints", "filled")
"""`filled` has engines that were built elsewhere."""
PREBUILT = {"mode": "prebuilt", "cache": {"claim": "filled"}}
"""Values of `engines` where nothing is to be built."""
ENGINES = "eyes-eyestream-engines"


class Site:
    """One namespace of a plane, under the restricted Pod Security standard, as long as the block lasts.

    What the chart expects of its user is in it; what a test adds goes with it.
    """

    def __init__(self, plane: ControlPlane, *, redis_url: str = "redis://127.0.0.1:6379/0") -> None:
        self.plane = plane
        self._redis_url = redis_url
        self.name = f"t{secrets.token_hex(3)}"
        self._nodes: list[str] = []

    @property
    def path(self) -> str:
        """The namespace's core objects."""
        return f"/api/v1/namespaces/{self.name}"

    def of(self, group: str, kind: str, name: str = "") -> str:
        """The path of objects of a group, e.g. `of("apps/v1", "deployments")`."""
        return f"/apis/{group}/namespaces/{self.name}/{kind}" + (f"/{name}" if name else "")

    def __enter__(self) -> Self:
        self._make()
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _make(self) -> None:
        api = self.plane.api
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        api.create("/api/v1/namespaces", {"metadata": {"name": self.name, "labels": labels}})
        runtime = {"metadata": {"name": "nvidia"}, "handler": "nvidia"}
        if not api.exists("/apis/node.k8s.io/v1/runtimeclasses/nvidia"):
            api.create("/apis/node.k8s.io/v1/runtimeclasses", runtime)
        for claim in (*CLAIMS, ENGINES):
            api.create("/api/v1/persistentvolumes", volume(f"{self.name}-{claim}", claim=(self.name, claim)))
        for claim in CLAIMS:
            spec = {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}
            api.create(f"{self.path}/persistentvolumeclaims", {"metadata": {"name": claim}, "spec": spec})
        secret = {"metadata": {"name": "redis-url"}, "stringData": {"url": self._redis_url}}
        api.create(f"{self.path}/secrets", secret)
        wait_until(lambda: api.exists(f"{self.path}/serviceaccounts/default"), "the namespace has its account")

    def _remove(self) -> None:
        api = self.plane.api
        with contextlib.suppress(Exception):
            self.helm("uninstall", "eyes", "--ignore-not-found")
        self.plane.kubectl("delete", "deployments,jobs", "--all", "--wait=false", "-n", self.name)
        wait_until(lambda: not api.items(f"{self.path}/pods"), "its pods are gone", within_s=120)
        api.delete(f"/api/v1/namespaces/{self.name}")  # it goes by itself, some ten seconds later
        for claim in (*CLAIMS, ENGINES):
            api.delete(f"/api/v1/persistentvolumes/{self.name}-{claim}")
        for name in self._nodes:
            api.delete(f"/api/v1/nodes/{name}")

    def nodes(self, count: int, *, product: str = H100, **more: Any) -> list[str]:
        """Nodes with one H100 each, in zones of their own, unless `more` says otherwise."""
        more = {"resources": {"nvidia.com/gpu": 1}, **more}
        names = [f"{self.name}-{len(self._nodes) + number}" for number in range(count)]
        for number, name in enumerate(names):
            self.plane.api.create("/api/v1/nodes", node(name, product=product, zone=f"zone-{number % 3}", **more))
        self._nodes += names
        return names

    def helm(self, command: str, *arguments: str, values: Object | None = None) -> str:
        return self.plane.helm(command, *arguments, "--namespace", self.name, values=values)

    def install(self, shape: str = "minimal", values: Object | None = None, *arguments: str) -> str:
        """`helm install --wait` of one of the chart's shapes."""
        return self._release("install", shape, values, arguments)

    def upgrade(self, shape: str = "minimal", values: Object | None = None, *arguments: str) -> str:
        return self._release("upgrade", shape, values, arguments)

    def _release(self, command: str, shape: str, values: Object | None, arguments: tuple[str, ...]) -> str:
        file = str(render.SHAPES / f"{shape}-values.yaml")
        wait = ["--wait", "--wait-for-jobs", "--timeout", "4m"]
        return self.helm(command, "eyes", CHART, "-f", file, *wait, *arguments, values=values)

    def pods(self, component: str) -> list[Object]:
        """Those that are not on their way out."""
        found = self.plane.api.pods(self.name, f"app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, component: str) -> int:
        return sum(map(ready, self.pods(component)))

    def everything(self) -> set[str]:
        """Whatever a release could leave: every object of the namespace but the cluster's own and the user's."""
        kinds = self.plane.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        kinds = [kind for kind in kinds if not kind.startswith("events")]
        found = self.plane.kubectl("get", ",".join(kinds), "-n", self.name, "-o", "name", "--ignore-not-found")
        users = {f"persistentvolumeclaim/{claim}" for claim in CLAIMS} | {"secret/redis-url"}
        return (
            {word for word in found.split() if "/" in word}
            - users
            - {"serviceaccount/default", "configmap/kube-root-ca.crt"}
        )


class Watching(threading.Thread):
    """Counts a component's ready pods again and again while something else happens."""

    def __init__(self, site: Site, component: str) -> None:
        super().__init__(daemon=True)
        self.counts: list[int] = []
        self._look = lambda: site.ready(component)
        self._halted = threading.Event()

    def run(self) -> None:
        while not self._halted.is_set():
            self.counts.append(self._look())
            self._halted.wait(0.03)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halted.set()
        self.join()


def wait_until(done: Callable[[], bool], what: str | Callable[[], str], *, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.2)


@contextlib.contextmanager
def owned_state() -> Iterator[Path]:
    """A state folder that counts as abandoned once this process is gone, however it went."""
    state = STATES / secrets.token_hex(4)
    state.mkdir(parents=True)
    with (state / "owner.lock").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield state
        shutil.rmtree(state)


def end_leftovers() -> None:
    """End what runs of this checkout left that were killed; those still going hold their lock."""
    for lock in STATES.glob("*/owner.lock"):
        with lock.open("a") as owner, contextlib.suppress(BlockingIOError):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for pod in (lock.parent / "pods").glob("*"):
                Stack(pod, model_repository=pod, parts=[]).down()
            ControlPlane(lock.parent).down()
            shutil.rmtree(lock.parent, ignore_errors=True)
