"""Plays the kubelet for one pod: its container as a process of this machine. Knows neither chart nor operator.

The process gets the pod's own command, arguments, environment and files, at the paths that the pod names, in a mount
namespace of its own; no root is needed. Image, user, limits and network are this machine's.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from controlplane.access import Api
from controlplane.parts import patiently
from eyestream.apps.local.base import Command, Part, Place, write_text
from eyestream.errors import Misconfigured

Object = dict[str, Any]

_CHECKOUT: Final = Path(__file__).resolve().parents[2]

# A process namespace: what the container has started ends with it, whatever session it went to. unshare itself is deaf
# to SIGTERM, so the signal goes to the container's first process, as a kubelet's does.
_OUTSIDE: Final = r"""
unshare -rmpf --kill-child --mount-proc "$@" &
child=$!
trap 'kill -TERM $(cat /proc/$child/task/$child/children)' TERM
while wait $child; code=$?; kill -0 $child 2>/dev/null; do :; done
exit $code
"""

# $1 is the new root, $2 the list of `source<tab>target`, $3 the list of folders that must be seen as they are.
_INSIDE: Final = r"""
set -e
root=$1 mounts=$2 kept=$3
shift 3
mount -t tmpfs none "$root"
for entry in /*; do
    if [ -L "$entry" ]; then cp -P "$entry" "$root$entry"
    elif [ "$entry" = /etc ]; then mkdir "$root/etc"; cp -a /etc/. "$root/etc/" 2>/dev/null || :
    elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"
    fi
done
bind() {
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}"; : >>"$root$2"; fi
    mount --rbind "$1" "$root$2"
}
while IFS="$(printf '\t')" read -r source target; do bind "$source" "$target"; done <"$mounts"
while read -r folder; do bind "$folder" "$folder"; done <"$kept"
exec chroot "$root" "$@"
"""


@dataclass(frozen=True, slots=True)
class Played:
    """What a process of this machine takes from the cluster: read once, so that it stays what the pod was."""

    pod: Object
    environment: Mapping[str, str]
    files: Mapping[str, bytes | Path]
    """By the path in the pod: a file's content, or a folder of this machine."""
    empty: Sequence[str]
    """Paths of folders that are empty when the pod begins."""
    argv: Sequence[str]

    @classmethod
    def read(cls, api: Api, pod: Object, claims: Mapping[str, Path]) -> Played:
        """The first container of a pod of the API server; `claims` says which folder a claim is.

        Raises Misconfigured for a volume that has nothing to stand for it.
        """
        (container, *_) = pod["spec"]["containers"]
        namespace = pod["metadata"]["namespace"]
        source = _Source(api, f"/api/v1/namespaces/{namespace}", claims)
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        files: dict[str, bytes | Path] = {}
        empty: list[str] = []
        for mount in sorted(container.get("volumeMounts", []), key=lambda mount: str(mount["mountPath"])):
            volume, at = volumes[mount["name"]], mount["mountPath"]
            if "emptyDir" in volume:
                empty += [at] if volume["emptyDir"].get("medium") != "Memory" else []
                continue
            for name, content in source.volume(volume):
                if "subPath" not in mount:
                    files[f"{at}/{name}".rstrip("/")] = content
                elif name == mount["subPath"]:
                    files[at] = content
        argv = [*container.get("command", []), *container.get("args", [])]
        return cls(pod, dict(source.environment(pod, container)), files, empty, argv)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where values and files of a namespace come from."""

    api: Api
    path: str
    claims: Mapping[str, Path]

    def environment(self, pod: Object, container: Object) -> Iterator[tuple[str, str]]:
        for source in container.get("envFrom", []):
            for name, value in self._secret(source["secretRef"]["name"]).items():
                yield name, value.decode()
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                wanted = source["secretKeyRef"]
                yield variable["name"], self._secret(wanted["name"])[wanted["key"]].decode()
            elif "fieldRef" in source:
                yield variable["name"], _field(pod, source["fieldRef"]["fieldPath"])
            elif not source:
                yield variable["name"], variable.get("value", "")

    def volume(self, volume: Object) -> Iterator[tuple[str, bytes | Path]]:
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            if claim not in self.claims:
                raise Misconfigured(f"no folder of this machine stands for the claim {claim}")
            yield "", self.claims[claim]
        elif "configMap" in volume:
            found = self.api.get(f"{self.path}/configmaps/{volume['configMap']['name']}")
            yield from ((name, text.encode()) for name, text in found["data"].items())
        elif "secret" in volume:
            yield from self._items(volume["secret"], self._secret(volume["secret"]["secretName"]))
        elif "projected" in volume:
            for source in volume["projected"]["sources"]:
                if "secret" not in source:
                    raise Misconfigured(f"nothing here stands for the source {source}")
                yield from self._items(source["secret"], self._secret(source["secret"]["name"]))
        else:
            raise Misconfigured(f"nothing here stands for the volume {volume}")

    def _items(self, reference: Object, found: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        for item in reference.get("items", [{"key": name, "path": name} for name in found]):
            yield item["path"], found[item["key"]]

    def _secret(self, name: str) -> Mapping[str, bytes]:
        found = self.api.get(f"{self.path}/secrets/{name}").get("data", {})
        return {key: base64.b64decode(value) for key, value in found.items()}


def _field(pod: Object, path: str) -> str:
    """`metadata.name`, `status.podIP`, `metadata.labels['ray.io/cluster']`."""
    head, _, key = path.partition("[")
    found: Any = pod
    for step in head.split("."):
        found = found[step]
    return str(found[key.strip("']")] if key else found)


@dataclass(slots=True)
class PlayedPod(Part):
    """The process as a part of a local stack, so that a killed run leaves none.

    What several pods of one machine cannot share is changed: `more` is appended to the last argument, `changes` are
    put over the environment. They and `answers`, a URL that answers once it is ready, may name `ports` in braces.
    """

    name: str
    played: Played
    answers: str
    more: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)
    ready_within_s: float = 180.0
    stops_within_s: float = 60.0
    ports: Sequence[str] = field(default=())

    def prepare(self, place: Place) -> None:
        """Write the files that it is given."""
        mounts = []
        for number, (target, content) in enumerate(sorted(self.played.files.items())):
            source = content if isinstance(content, Path) else place.data / f"file-{number}"
            if isinstance(content, bytes):
                source.parent.mkdir(parents=True, exist_ok=True)
                source.write_bytes(content)
            mounts.append((source, target))
        for number, target in enumerate(self.played.empty):
            source = place.data / f"empty-{number}"
            source.mkdir(parents=True, exist_ok=True)
            mounts.append((source, target))
        hosts = place.data / "hosts"
        write_text(hosts, "127.0.0.1 localhost\n")
        mounts.append((hosts, "/etc/hosts"))
        write_text(
            _mounts(place), "".join(f"{source}\t{at}\n" for source, at in sorted(mounts, key=lambda one: one[1]))
        )
        own = (_CHECKOUT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
        hidden = [str(folder) for folder in own if any(folder.is_relative_to(at) for at in self.played.empty)]
        write_text(_kept(place), "".join(f"{folder}\n" for folder in hidden))
        _root(place).mkdir(exist_ok=True)

    def command(self, place: Place) -> Command:
        """The pod's own, found on the path of this environment; nothing else of our environment reaches it."""
        argv = list(self.played.argv)
        argv[-1] += f" {self.more.format(**place.ports)}" if self.more else ""
        path = f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        changes = {key: value.format(**place.ports) for key, value in self.changes.items()}
        variables = {**self.played.environment, **changes, "PATH": path}
        clean = ["env", "-i", *(f"{key}={value}" for key, value in variables.items())]
        inside = ["sh", "-c", _INSIDE, "sh", str(_root(place)), str(_mounts(place)), str(_kept(place))]
        return Command(["sh", "-c", _OUTSIDE, "sh", *inside, *clean, *argv])

    def ready(self, place: Place) -> None:
        """Ask as the kubelet would."""
        with patiently():
            httpx.get(self.answers.format(**place.ports), timeout=5, trust_env=False).raise_for_status()


def _root(place: Place) -> Path:
    return place.data / "root"


def _mounts(place: Place) -> Path:
    return place.data / "mounts"


def _kept(place: Place) -> Path:
    return place.data / "kept"
