"""KEDA, KubeRay's operator and JobSet's as parts of a control plane, from their own modules. Knows no chart."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx
import yaml

from controlplane import binaries
from controlplane.access import kubectl
from controlplane.parts import Keys, Program, client, patiently, wait
from eyestream.apps.local.base import Command, Place, write_text
from eyestream.errors import Unavailable

_KEDA: Final = "keda"
_METRICS: Final = "v1beta1.external.metrics.k8s.io"
_HERE: Final = ("localhost", "127.0.0.1")
_KEDA_HOSTS: Final = (*_HERE, f"keda-operator.{_KEDA}.svc", f"keda-metrics-apiserver.{_KEDA}.svc")


class _KedaProgram(Program):
    ready_within_s = 240.0

    def _environment(self, config: Path) -> Mapping[str, str]:
        return {
            "KUBECONFIG": str(config),
            "WATCH_NAMESPACE": "",
            "KEDA_CLUSTER_OBJECT_NAMESPACE": _KEDA,
            "POD_NAMESPACE": _KEDA,
            "POD_NAME": self.name,
        }

    def _certificates(self) -> Path:
        """The folder with the names of files that KEDA looks for."""
        return _certificates(self._keys, _KEDA, _KEDA_HOSTS)


class Keda(_KedaProgram):
    """Turns ScaledObjects into autoscalers and reads what they scale by."""

    name = "keda"
    ports = ("keda", "keda-metrics", "keda-health")

    def prepare(self, place: Place) -> None:
        """Its definitions and its namespace."""
        super().prepare(place)
        _define(self._keys, place, binaries.beside("keda", "keda-crds.yaml", say=place.say), "scaledobjects.keda.sh")
        config = self._keys.administrator(place.ports)
        _apply(config, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _KEDA}}])

    def command(self, place: Place) -> Command:
        """Certificates of our authority, and no webhooks."""
        config = self._keys.administrator(place.ports)
        flags = {
            "kubeconfig": config,
            "cert-dir": self._certificates(),
            "metrics-service-bind-address": f"127.0.0.1:{place.ports['keda']}",
            "metrics-bind-address": f"127.0.0.1:{place.ports['keda-metrics']}",
            "health-probe-bind-address": f"127.0.0.1:{place.ports['keda-health']}",
            "enable-webhook-patching": "false",
            "enable-apiservice-patching": "false",
        }
        return Command(self._argv(place, flags), self._environment(config))

    def ready(self, place: Place) -> None:
        """Ask for its readiness."""
        with patiently():
            address = f"http://127.0.0.1:{place.ports['keda-health']}/readyz"
            httpx.get(address, timeout=5, trust_env=False).raise_for_status()


class KedaAdapter(_KedaProgram):
    """Hands the operator's figures to autoscalers, through the API server's aggregation."""

    name = "keda-adapter"
    ports = ("keda-adapter", "keda-adapter-metrics")

    def prepare(self, place: Place) -> None:
        """Send the API group of external metrics to it."""
        super().prepare(place)
        bundle = base64.b64encode(self._keys.authority.certificate.read_bytes()).decode()
        service = {"name": "keda-metrics-apiserver", "namespace": _KEDA}
        port = place.ports["keda-adapter"]
        _apply(
            self._keys.administrator(place.ports),
            [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": service,
                    "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
                },
                {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": _METRICS},
                    "spec": {
                        "group": "external.metrics.k8s.io",
                        "version": "v1beta1",
                        "groupPriorityMinimum": 100,
                        "versionPriority": 100,
                        "caBundle": bundle,
                        "service": {**service, "port": port},
                    },
                },
            ],
        )

    def command(self, place: Place) -> Command:
        """Asks the operator by gRPC."""
        config = self._keys.administrator(place.ports)
        certificates = self._certificates()
        flags = {
            "kubeconfig": config,
            "lister-kubeconfig": config,
            "authentication-kubeconfig": config,
            "authorization-kubeconfig": config,
            "bind-address": "127.0.0.1",
            "secure-port": place.ports["keda-adapter"],
            "cert-dir": certificates,
            "tls-cert-file": certificates / "tls.crt",
            "tls-private-key-file": certificates / "tls.key",
            "client-ca-file": certificates / "ca.crt",
            "metrics-service-address": f"localhost:{place.ports['keda']}",
            "port": place.ports["keda-adapter-metrics"],
        }
        return Command(self._argv(place, flags), self._environment(config))

    def ready(self, place: Place) -> None:
        """Ask it through the API server."""
        with patiently(), client(self._keys, place) as api:
            conditions = api.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{_METRICS}")["status"]["conditions"]
            if not any(one["type"] == "Available" and one["status"] == "True" for one in conditions):
                raise Unavailable(f"the API server cannot reach the adapter: {conditions}")
            api.get("/apis/external.metrics.k8s.io/v1beta1")


class KubeRay(Program):
    """Turns RayServices into Ray clusters. It dials their heads by names that `hosts` alone knows.

    The operator sees `hosts` as its /etc/hosts, in a mount namespace of its own; lines may be added while it runs.
    """

    name = "kuberay-operator"
    ports = ("kuberay-metrics", "kuberay-health")

    def __init__(self, keys: Keys, hosts: Path) -> None:
        super().__init__(keys)
        self._hosts = hosts

    def prepare(self, place: Place) -> None:
        """Its definitions, and the hosts file where there is none."""
        super().prepare(place)
        if not self._hosts.exists():
            self._hosts.write_text("127.0.0.1 localhost\n")
        _define(self._keys, place, binaries.beside(self.name, "kuberay-crds.yaml", say=place.say), "rayservices.ray.io")

    def command(self, place: Place) -> Command:
        """In a mount namespace of its own."""
        flags = {
            "kubeconfig": self._keys.administrator(place.ports),
            "enable-leader-election": "false",
            "metrics-addr": f"127.0.0.1:{place.ports['kuberay-metrics']}",
            "health-probe-bind-address": f"127.0.0.1:{place.ports['kuberay-health']}",
        }
        inside = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return Command(["unshare", "-rm", "sh", "-c", inside, str(self._hosts), *self._argv(place, flags)])

    def ready(self, place: Place) -> None:
        """Ask for its readiness."""
        with patiently():
            address = f"http://127.0.0.1:{place.ports['kuberay-health']}/readyz"
            httpx.get(address, timeout=5, trust_env=False).raise_for_status()


class JobSets(Program):
    """Turns JobSets into Jobs; its webhooks fill in, check and guard what is sent to the API server."""

    name = "jobset"
    ports = ("jobset-webhooks", "jobset-metrics", "jobset-health")

    def prepare(self, place: Place) -> None:
        """Its definition, and its webhooks under an address of this machine."""
        super().prepare(place)
        _define(self._keys, place, self._beside("crds", place), "jobsets.jobset.x-k8s.io")
        bundle = base64.b64encode(self._keys.authority.certificate.read_bytes()).decode()
        found = yaml.safe_load_all(self._beside("webhooks", place).read_text())
        configurations = [item for item in found if item["kind"].endswith("WebhookConfiguration")]
        for configuration in configurations:
            configuration["metadata"]["name"] = f"jobset-{configuration['metadata']['name']}"
            for webhook in configuration["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                url = f"https://127.0.0.1:{place.ports['jobset-webhooks']}{path}"
                webhook["clientConfig"] = {"url": url, "caBundle": bundle}
        _apply(self._keys.administrator(place.ports), configurations)

    def command(self, place: Place) -> Command:
        """With certificates of our authority, and alone."""
        certificates = str(_certificates(self._keys, self.name, _HERE))
        settings = {
            "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
            "kind": "Configuration",
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
            "webhook": {"host": "127.0.0.1", "port": place.ports["jobset-webhooks"], "certDir": certificates},
            "metrics": {"bindAddress": f"127.0.0.1:{place.ports['jobset-metrics']}", "certDir": certificates},
            "health": {"healthProbeBindAddress": f"127.0.0.1:{place.ports['jobset-health']}"},
        }
        file = place.runtime / "jobset.yaml"
        write_text(file, yaml.safe_dump(settings))
        return Command(self._argv(place, {"kubeconfig": self._keys.administrator(place.ports), "config": file}))

    def ready(self, place: Place) -> None:
        """Ask for its readiness: its webhooks answer."""
        with patiently():
            address = f"http://127.0.0.1:{place.ports['jobset-health']}/readyz"
            httpx.get(address, timeout=5, trust_env=False).raise_for_status()

    def _beside(self, what: str, place: Place) -> Path:
        return binaries.beside(self.name, f"jobset-{what}.yaml", say=place.say)


def _certificates(keys: Keys, name: str, hosts: Sequence[str]) -> Path:
    """A folder with the names of files that an operator looks for."""
    authority = keys.authority
    pair = authority.pair(f"{name}-operator", hosts=hosts)
    folder = keys.folder / name
    folder.mkdir(exist_ok=True)
    for source, file in ((authority.certificate, "ca.crt"), (pair.certificate, "tls.crt"), (pair.key, "tls.key")):
        shutil.copyfile(source, folder / file)
    return folder


def _define(keys: Keys, place: Place, definitions: Path, name: str) -> None:
    """Apply an operator's definitions and return once objects of the kind `name` can be made."""
    kubectl(keys.administrator(place.ports), "apply", "--server-side", "-f", str(definitions))

    def established() -> bool:
        found = api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}").get("status", {})
        return any(one["type"] == "Established" and one["status"] == "True" for one in found.get("conditions") or [])

    with client(keys, place) as api:
        wait(established, within_s=60)


def _apply(config: Path, objects: Sequence[Mapping[str, object]]) -> None:
    text = "\n---\n".join(json.dumps(item) for item in objects)
    kubectl(config, "apply", "--server-side", "-f", "-", given=text)
