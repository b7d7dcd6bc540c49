"""The programs of a control plane as parts of a local stack, each ready once it was used. Knows no operator."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from controlplane import binaries
from controlplane.access import ADMINISTRATORS, Api, kubeconfig, trust
from controlplane.authority import Authority
from controlplane.nodes import node
from eyestream.apps.local.base import Command, Part, Place
from eyestream.errors import Unavailable

_SERVICES: Final = "10.96.0.0/16"
_HOSTS: Final = ("127.0.0.1", "localhost", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class Keys:
    """What every part shares: the folder of the certificates and of the kubeconfigs."""

    folder: Path

    @property
    def authority(self) -> Authority:
        """Signs for all of them."""
        return Authority(self.folder)

    def kubeconfig(self, name: str, ports: Mapping[str, int], *, groups: tuple[str, ...] = ()) -> Path:
        """Lets a program in under that name."""
        authority = self.authority
        return kubeconfig(self.folder, authority, authority.pair(name, groups=groups), port=ports["api"])

    def administrator(self, ports: Mapping[str, int]) -> Path:
        """May do anything."""
        return self.kubeconfig("administrator", ports, groups=ADMINISTRATORS)

    def api(self, ports: Mapping[str, int]) -> Api:
        """A client that may do anything."""
        pair = self.authority.pair("administrator", groups=ADMINISTRATORS)
        return Api(f"https://127.0.0.1:{ports['api']}", trust(self.authority, pair))


class Program(Part):
    """What the programs share: built when they are missing, and given flags."""

    ready_within_s = 180.0
    stops_within_s = 10.0

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def prepare(self, place: Place) -> None:
        """Build it, once."""
        binaries.program(self.name, say=place.say)

    def _argv(self, place: Place, flags: Mapping[str, object]) -> list[str]:
        binary = binaries.program(self.name, say=place.say)
        return [str(binary), *(f"--{name}={value}" for name, value in flags.items())]


class Etcd(Program):
    """Where the API server keeps everything; plain HTTP, since nothing leaves the machine."""

    name = "etcd"
    ports = ("etcd", "etcd-peer")

    def command(self, place: Place) -> Command:
        """One member, its data kept."""
        clients, peers = (f"http://127.0.0.1:{place.ports[port]}" for port in self.ports)
        flags = {
            "name": "one",
            "data-dir": place.data,
            "unsafe-no-fsync": "true",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"one={peers}",
        }
        return Command(self._argv(place, flags))

    def ready(self, place: Place) -> None:
        """Ask for its health."""
        with patiently():
            found = httpx.get(f"http://127.0.0.1:{place.ports['etcd']}/health", timeout=5, trust_env=False).json()
        if found.get("health") != "true":
            raise Unavailable(f"etcd says {found}")


class ApiServer(Program):
    """With the admission, the authorisation and the aggregation of a real one."""

    name = "kube-apiserver"
    ports = ("api",)
    stops_within_s = 3.0
    """It lingers for as long as anybody watches."""

    def command(self, place: Place) -> Command:
        """Certificates of our own authority for servers, clients and the front proxy."""
        authority = self._keys.authority
        server, proxy = authority.pair("kube-apiserver", hosts=_HOSTS), authority.pair("front-proxy")
        tokens = authority.signing_key()
        flags = {
            "etcd-servers": f"http://127.0.0.1:{place.ports['etcd']}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": place.ports["api"],
            "endpoint-reconciler-type": "none",
            "tls-cert-file": server.certificate,
            "tls-private-key-file": server.key,
            "client-ca-file": authority.certificate,
            "authorization-mode": "RBAC",
            "allow-privileged": "true",
            "service-cluster-ip-range": _SERVICES,
            "service-account-key-file": tokens,
            "service-account-signing-key-file": tokens,
            "service-account-issuer": "https://kubernetes.default.svc",
            "requestheader-client-ca-file": authority.certificate,
            "requestheader-allowed-names": "front-proxy",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": proxy.certificate,
            "proxy-client-key-file": proxy.key,
        }
        return Command(self._argv(place, flags))

    def ready(self, place: Place) -> None:
        """It calls itself ready, once its roles are written, and a namespace that it makes itself can be read."""
        with patiently(), client(self._keys, place) as api:
            api.check("/readyz")
            api.get("/api/v1/namespaces/kube-system")


class ControllerManager(Program):
    """Its autoscaler looks often: a test does not wait a quarter of a minute for each look."""

    name = "kube-controller-manager"
    ports = ("controllers",)

    def command(self, place: Place) -> Command:
        """Every controller, each with its own account."""
        config = self._keys.kubeconfig("system:kube-controller-manager", place.ports)
        authority = self._keys.authority
        flags = {
            "kubeconfig": config,
            "authentication-kubeconfig": config,
            "authorization-kubeconfig": config,
            "bind-address": "127.0.0.1",
            "secure-port": place.ports["controllers"],
            "leader-elect": "false",
            "use-service-account-credentials": "true",
            "service-account-private-key-file": authority.signing_key(),
            "root-ca-file": authority.certificate,
            "horizontal-pod-autoscaler-sync-period": "3s",
            "node-monitor-grace-period": "180s",
        }
        return Command(self._argv(place, flags))

    def ready(self, place: Place) -> None:
        """The account is there that a controller makes in each namespace."""
        with patiently(), client(self._keys, place) as api:
            api.get("/api/v1/namespaces/default/serviceaccounts/default")


class Scheduler(Program):
    """Places pods on nodes."""

    name = "kube-scheduler"
    ports = ("scheduler",)

    def command(self, place: Place) -> Command:
        """With its default profile."""
        config = self._keys.kubeconfig("system:kube-scheduler", place.ports)
        flags = {
            "kubeconfig": config,
            "authentication-kubeconfig": config,
            "authorization-kubeconfig": config,
            "bind-address": "127.0.0.1",
            "secure-port": place.ports["scheduler"],
            "leader-elect": "false",
        }
        return Command(self._argv(place, flags))

    def ready(self, place: Place) -> None:
        """Ask for its health; Kwok places a pod."""
        address = f"https://127.0.0.1:{place.ports['scheduler']}/readyz"
        with patiently():  # it signs its own certificate
            httpx.get(address, timeout=5, verify=False, trust_env=False).raise_for_status()  # noqa: S501


class Kwok(Program):
    """Plays every node: what is placed there runs at once, Jobs succeed, and what is deleted goes."""

    name = "kwok"
    ports = ("kwok",)

    def command(self, place: Place) -> Command:
        """With its own stages for nodes and pods."""
        flags = {
            "kubeconfig": self._keys.administrator(place.ports),
            "manage-all-nodes": "true",
            "disregard-status-with-annotation-selector": "kwok.x-k8s.io/status=custom",  # tests play these themselves
            "config": binaries.beside("kwok", "kwok-stages.yaml", say=place.say),
            "server-address": f"127.0.0.1:{place.ports['kwok']}",
            "node-lease-duration-seconds": 40,
        }
        return Command(self._argv(place, flags))

    def ready(self, place: Place) -> None:
        """A pod is placed on a node of its own and runs there: the scheduler and the accounts are at work too."""
        name = f"ready-{uuid.uuid4().hex[:8]}"
        with patiently(), client(self._keys, place) as api:
            try:
                api.create("/api/v1/nodes", node(name))
                api.create("/api/v1/namespaces/default/pods", _trial(name))
                wait(lambda: api.get(f"/api/v1/namespaces/default/pods/{name}")["status"]["phase"] == "Running")
            finally:
                api.delete(f"/api/v1/namespaces/default/pods/{name}", gracePeriodSeconds="0")
                api.delete(f"/api/v1/nodes/{name}")


def _trial(name: str) -> dict[str, object]:
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": name},
        "automountServiceAccountToken": False,
        "containers": [{"name": "trial", "image": "none"}],
    }
    return {"metadata": {"name": name}, "spec": spec}


@contextlib.contextmanager
def client(keys: Keys, place: Place) -> Iterator[Api]:
    """A client that may do anything, closed afterwards."""
    api = keys.api(place.ports)
    try:
        yield api
    finally:
        api.close()


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """What cannot be done yet is Unavailable: the stack asks again."""
    try:
        yield
    except (httpx.HTTPError, OSError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def wait(done: Callable[[], bool], within_s: float = 10.0) -> None:
    """Until it holds; raises Unavailable when it does not in time."""
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            raise Unavailable(f"it did not happen within {within_s:.0f} s")
        time.sleep(0.1)
