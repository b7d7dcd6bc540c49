"""Makes the lock files anew: all, or those named. `make lock` runs it; it needs uv, which `make setup` installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = str(HERE.parent / "pyproject.toml")
COMPILE = [
    str(Path(sys.executable).with_name("uv")),
    *("pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-header", "--no-annotate"),
]

OF_THE_PROJECT = {
    "dev": ["--extra", "dev"],
    "engines": ["--extra", "engines"],
    "engines-dev": ["--extra", "engines-dev"],
}
DIRECT = {
    "uv": ("uv", []),
    "triton": ("numpy<2\nonnxruntime", []),
    # Its own requirements are for the full package; the local stack runs the server in it and nothing else.
    "tritonserver": ("nvidia-pytriton==0.7.0", ["--no-deps"]),
}


def main(names: list[str]) -> None:
    """Compile each lock; the registry is asked, nothing is installed."""
    for name in names or [*OF_THE_PROJECT, *DIRECT]:
        to = ["-o", str(HERE / f"{name}.txt")]
        if name in OF_THE_PROJECT:
            subprocess.run([*COMPILE, *OF_THE_PROJECT[name], PROJECT, *to], check=True)
        else:
            wanted, options = DIRECT[name]
            subprocess.run([*COMPILE, *options, "-", *to], input=f"{wanted}\n".encode(), check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
