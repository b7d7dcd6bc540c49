"""Builds the control plane's programs from committed Go module files, each once. Knows nothing of how they are run."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chartkit import tools

from eyestream.apps.local import cache
from eyestream.errors import Misconfigured

HERE: Final = Path(__file__).resolve().parent
GIVEN: Final = ("EYESTREAM_CONTROLPLANE", "KUBEBUILDER_ASSETS")
"""Environment variables that may name a folder of programs built elsewhere."""

KUBERNETES: Final = "1.36.2"


@dataclass(frozen=True, slots=True)
class Module:
    """A folder of Go module files; `programs` maps the names of programs to their packages."""

    folder: str
    programs: Mapping[str, str]
    cpu_minutes: int
    """About what a build from nothing takes."""
    defines: Mapping[str, str] = field(default_factory=dict)
    """Values that the linker puts into variables."""
    extras: Callable[[Path], None] | None = None
    """Writes what a program needs beside it into the folder of the programs."""

    @property
    def path(self) -> Path:
        """Where go.mod and go.sum lie."""
        return HERE / self.folder

    @property
    def flags(self) -> list[str]:
        """What `go build` is told: no C, no paths of this machine, no symbols."""
        defines = " ".join(f"-X {name}={value}" for name, value in sorted(self.defines.items()))
        return ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {defines}".strip()]

    @property
    def key(self) -> str:
        """Names the outcome: it changes when anything that goes into the build does."""
        said = [self.folder, *self.programs, *self.programs.values(), *self.flags]
        content = [(self.path / name).read_bytes() for name in ("go.mod", "go.sum")]
        digest = hashlib.sha256(b"\0".join([*content, *(text.encode() for text in said)]))
        return f"controlplane-{self.folder}-{digest.hexdigest()[:12]}"


def _versions() -> dict[str, str]:
    """Without them the server would call itself v0.0.0 and Helm would refuse charts with a kubeVersion."""
    major, minor, _ = KUBERNETES.split(".")
    said = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in said.items()}


def _stages(to: Path) -> None:
    """What kwok's nodes and pods do, from kwok's own module."""
    stages = _module_folder(HERE / "kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    parts = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    (to / "kwok-stages.yaml").write_text("---\n".join(_kustomize(stages / part) for part in parts))


def _jobset(to: Path) -> None:
    """JobSet's definition and its webhooks, as its own installation has them."""
    components = _module_folder(HERE / "jobset", _JOBSET) / "config" / "components"
    (to / "jobset-crds.yaml").write_text(_kustomize(components / "crd"))
    (to / "jobset-webhooks.yaml").write_text(_kustomize(components / "webhook"))


def _kustomize(folder: Path) -> str:
    command = [str(tools.kubectl()), "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _crds(folder: str, module: str) -> Callable[[Path], None]:
    def copy(to: Path) -> None:
        found = sorted((_module_folder(HERE / folder, module) / "config" / "crd" / "bases").glob("*.yaml"))
        (to / f"{folder}-crds.yaml").write_text("\n---\n".join(file.read_text() for file in found))

    return copy


_KUBERAY: Final = "github.com/ray-project/kuberay/ray-operator"
_KEDA: Final = "github.com/kedacore/keda/v2"
_JOBSET: Final = "sigs.k8s.io/jobset"

MODULES: Final = (
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, 2),
    Module(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        },
        9,
        _versions(),
    ),
    Module("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, 3, extras=_stages),
    Module("keda", {"keda": f"{_KEDA}/cmd/operator", "keda-adapter": f"{_KEDA}/cmd/adapter"}, 12,
           extras=_crds("keda", _KEDA)),
    Module("kuberay", {"kuberay-operator": _KUBERAY}, 3, extras=_crds("kuberay", _KUBERAY)),
    Module("jobset", {"jobset": _JOBSET}, 3, extras=_jobset),
)  # fmt: skip


def program(name: str, *, say: Callable[[str], None] = print) -> Path:
    """The program, from a given folder, the cache, or a build that `say` is told of. Raises Misconfigured."""
    (module,) = [module for module in MODULES if name in module.programs]
    for folder in _given():
        if (folder / name).is_file():
            return folder / name
    return _built(module, say) / name


def beside(name: str, file: str, *, say: Callable[[str], None] = print) -> Path:
    """A file that was made with the program, such as `kwok-stages.yaml` or `keda-crds.yaml`."""
    (module,) = [module for module in MODULES if name in module.programs]
    for folder in _given():
        if (folder / file).is_file():
            return folder / file
    return _built(module, say) / file


def build(modules: Sequence[Module] = MODULES, *, say: Callable[[str], None] = print) -> None:
    """Every program there is; nothing where all are in the cache. Raises Misconfigured."""
    for module in modules:
        for name in module.programs:
            program(name, say=say)


def _given() -> list[Path]:
    return [Path(value) for name in GIVEN if (value := os.environ.get(name))]  # noqa: TID251  # the envtest convention


def _built(module: Module, say: Callable[[str], None]) -> Path:
    return cache.entry(cache.default_cache(), module.key, lambda to: _build(module, to, say), say=say)


def _build(module: Module, to: Path, say: Callable[[str], None]) -> None:
    go = _go()
    names = ", ".join(module.programs)
    say(f"building {names} from {module.path}: about {module.cpu_minutes} CPU minutes, once")
    began, used = time.monotonic(), _cpu_s()
    for name, package in module.programs.items():
        command = [go, "build", *module.flags, "-o", str(to / name), package]
        done = subprocess.run(
            ["nice", "-n", "19", *command], cwd=module.path, env=_environment(), check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            why = done.stdout.strip()[-2000:] or f"go ended with {done.returncode}"
            raise Misconfigured(f"{name} cannot be built in {module.path}: {why}")
    if module.extras is not None:
        module.extras(to)
    say(f"built {names} in {time.monotonic() - began:.0f} s, {_cpu_s() - used:.0f} CPU s")


def _go() -> str:
    found = shutil.which("go")
    if found is None:
        raise Misconfigured(
            "the cluster's programs are built with Go 1.26 or newer, which is not on this machine: install Go, or name "
            f"a folder that holds them ({', '.join(name for module in MODULES for name in module.programs)}) "
            f"in ${GIVEN[0]} or ${GIVEN[1]}"
        )
    return found


def _environment() -> Mapping[str, str]:
    own = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
    return {**os.environ, **own}  # noqa: TID251  # Go needs the user's home, proxies and caches


def _module_folder(wrapper: Path, module: str) -> Path:
    done = subprocess.run(
        [_go(), "mod", "download", "-json", module], cwd=wrapper, env=_environment(), check=True, capture_output=True
    )
    return Path(json.loads(done.stdout)["Dir"])


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
