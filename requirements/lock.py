"""Makes the lock files anew. Run it through `make lock`; it needs uv, which `make setup` installs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMPILE = [
    str(Path(sys.executable).with_name("uv")),
    *("pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-header", "--no-annotate"),
]

DIRECT = {
    "uv": ["uv"],
    "triton": ["numpy<2", "onnxruntime"],
    # Its own requirements are for the full package; the local stack runs the server in it and nothing else.
    "tritonserver": ["--no-deps", "nvidia-pytriton==0.7.0"],
    "engines": ["torch", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "pillow", "scikit-learn"],
}


def main() -> None:
    """Compile each lock; the network is asked, nothing is installed."""
    project = HERE.parent / "pyproject.toml"
    subprocess.run([*COMPILE, "--extra", "dev", str(project), "-o", str(HERE / "dev.txt")], check=True)
    for name, words in DIRECT.items():
        options = [word for word in words if word.startswith("--")]
        wanted = "\n".join(word for word in words if not word.startswith("--")) + "\n"
        argv = [*COMPILE, *options, "-", "-o", str(HERE / f"{name}.txt")]
        subprocess.run(argv, input=wanted.encode(), check=True)


if __name__ == "__main__":
    main()
