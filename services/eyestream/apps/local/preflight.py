"""What the machine must have before anything is downloaded, each lack with the command that mends it.

Needs nothing but Python itself, 3.7 or newer: `python3 services/eyestream/apps/local/preflight.py`.
"""

from __future__ import annotations

import platform
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

VERSIONS = ((3, 11), (3, 12))
NEEDED_GIB = 6.0
"""Packages 1.6 GB, Triton's environment 0.3 GB, Kafka 0.05 GB, what installing them takes besides, and data."""
NEEDED_SHM_MIB = 64

_SHM = Path("/dev/shm")  # noqa: S108 - where Linux keeps shared memory
_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def problems(folder: Path) -> list[str]:
    """Everything that keeps this machine from running the local stack with its files below `folder`; empty is good."""
    checks = (_machine(), _version(), _venv(), _shared_library(), _disk(folder), _shared_memory())
    return [problem for problem in checks if problem]


def find_libpython() -> Path | None:
    """This Python's shared library, which Triton's model processes load; None where it has none."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" not in name:
        name = f"libpython{_PYTHON}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    folders = (
        sysconfig.get_config_var("LIBDIR") or "/usr/lib",
        f"{sys.base_prefix}/lib",
        f"/usr/lib/{multiarch}",
        "/usr/local/lib",
        "/usr/lib64",
        "/usr/lib",
    )
    candidates = (Path(folder) / name for folder in folders)
    return next((candidate.resolve() for candidate in candidates if candidate.exists()), None)


def _machine() -> str | None:
    libc = platform.libc_ver()[0]
    if sys.platform == "linux" and platform.machine() == "x86_64" and libc == "glibc":
        return None
    return (
        "the local stack's servers come as programs for Linux with glibc on x86_64, and this is "
        f"{platform.system()} {platform.machine()} with {libc or 'another C library'}. "
        "Use such a machine, or the Helm chart with a Kafka, Redis and Triton of your own."
    )


def _version() -> str | None:
    if sys.version_info[:2] in VERSIONS:
        return None
    return (
        f"Python 3.11 or 3.12; this is {platform.python_version()}. Name another: `make demo PYTHON=python3.11`; "
        "on Debian or Ubuntu: `sudo apt-get install python3.11 python3.11-venv libpython3.11`."
    )


def _venv() -> str | None:
    if find_spec("venv") is not None and find_spec("ensurepip") is not None:
        return None
    return f"Python's venv module: `sudo apt-get install python{_PYTHON}-venv`."


def _shared_library() -> str | None:
    if find_libpython() is not None:
        return None
    return (
        "Python's shared library, which Triton's model processes load: "
        f"`sudo apt-get install libpython{_PYTHON}`; with pyenv: "
        f"`PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {platform.python_version()}`."
    )


def _disk(folder: Path) -> str | None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    if free_gib >= NEEDED_GIB:
        return None
    return f"room: the disk of {existing} has {free_gib:.1f} GiB free and {NEEDED_GIB:.0f} are needed. Free some."


def _shared_memory() -> str | None:
    free_mib = shutil.disk_usage(_SHM).free / 2**20 if _SHM.is_dir() else 0.0
    if free_mib >= NEEDED_SHM_MIB:
        return None
    return (
        f"shared memory: {_SHM} has {free_mib:.0f} MiB free and {NEEDED_SHM_MIB} are needed. "
        "In a container start it with `--shm-size=1g`."
    )


def main() -> int:
    """Print everything that is missing; 0 when nothing is, else 1."""
    found = problems(Path.cwd())
    for problem in found:
        print(f"missing: {problem}", file=sys.stderr)
    if not found:
        print("this machine can run the local stack")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
