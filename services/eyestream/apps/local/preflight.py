"""What the machine must have before anything is downloaded, each lack with the command that mends it.

Needs nothing but Python itself, 3.7 or newer: `python3 services/eyestream/apps/local/preflight.py`.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Machine:
    """What was found on a machine, by the Python that asks."""

    system: str
    processor: str
    libc: str
    python: str
    """Its full version, e.g. 3.11.7."""
    has_venv: bool
    libpython: Path | None
    folder: Path
    """Where the stack's files will lie."""
    free_gib: float
    free_shm_mib: float

    @classmethod
    def here(cls, folder: Path) -> Machine:
        """This machine, with the stack's files below `folder`, which need not exist yet."""
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return cls(
            system=platform.system(),
            processor=platform.machine(),
            libc=platform.libc_ver()[0],
            python=platform.python_version(),
            has_venv=find_spec("venv") is not None and find_spec("ensurepip") is not None,
            libpython=find_libpython(),
            folder=existing,
            free_gib=shutil.disk_usage(existing).free / 2**30,
            free_shm_mib=shutil.disk_usage(_SHM).free / 2**20 if _SHM.is_dir() else 0.0,
        )


def problems(machine: Machine, *, needed_gib: float = NEEDED_GIB) -> list[str]:
    """Everything that keeps this machine from running the local stack, each with what mends it; empty is good.

    Pass a smaller `needed_gib` once the packages are installed.
    """
    version = ".".join(machine.python.split(".")[:2])
    found = []
    if (machine.system, machine.processor, machine.libc) != ("Linux", "x86_64", "glibc"):
        found.append(
            "the local stack's servers come as programs for Linux with glibc on x86_64, and this is "
            f"{machine.system} {machine.processor} with {machine.libc or 'another C library'}. "
            "Use such a machine, or the Helm chart with a Kafka, Redis and Triton of your own."
        )
    if version not in [f"{major}.{minor}" for major, minor in VERSIONS]:
        found.append(
            f"Python 3.11 or 3.12; this is {machine.python}. Name another: `make demo PYTHON=python3.11`; "
            "on Debian or Ubuntu: `sudo apt-get install python3.11 python3.11-venv libpython3.11`."
        )
    if not machine.has_venv:
        found.append(f"Python's venv module: `sudo apt-get install python{version}-venv`.")
    if machine.libpython is None:
        found.append(
            "Python's shared library, which Triton's model processes load: "
            f"`sudo apt-get install libpython{version}`; with pyenv: "
            f"`PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {machine.python}`."
        )
    if machine.free_gib < needed_gib:
        found.append(
            f"room on the disk of {machine.folder}: {machine.free_gib:.1f} GiB are free and {needed_gib:.0f} needed. "
            "Free some, or put the checkout elsewhere."
        )
    if machine.free_shm_mib < NEEDED_SHM_MIB:
        found.append(
            f"shared memory: {_SHM} has {machine.free_shm_mib:.0f} MiB free and {NEEDED_SHM_MIB} are needed. "
            "In a container, start it with `--shm-size=1g`."
        )
    return found


def find_libpython() -> Path | None:
    """This Python's shared library, which Triton's model processes load; None where it has none."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    name = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" not in name:
        name = f"libpython{version}.so.1.0"
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


def main() -> int:
    """Print everything that is missing; 0 when nothing is, else 1."""
    found = problems(Machine.here(Path.cwd()))
    for problem in found:
        print(f"missing: {problem}", file=sys.stderr)
    if not found:
        print("this machine can run the local stack")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
