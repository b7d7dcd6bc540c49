"""`python -m chartkit generate | render | tools`: see each command's help."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from chartkit import generate, tools


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="chartkit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate", help="write the settings block, values.schema.json and the README of the chart")
    commands.add_parser("tools", help="fetch Helm, kubectl and the schemas; print where they are")
    render = commands.add_parser("render", help="render the chart to standard output")
    render.add_argument("values", nargs="*", type=Path, help="values files; helm/eyestream/ci holds the main shapes")
    chosen = parser.parse_args()
    if chosen.command == "generate":
        for file in generate.write():
            sys.stdout.write(f"{file.relative_to(tools.ROOT)}\n")
        return 0
    if chosen.command == "tools":
        for path in (tools.helm(), tools.kubectl(), tools.kubernetes_schemas(tools.OLDEST), *tools.crds()):
            sys.stdout.write(f"{path}\n")
        return 0
    files = [argument for file in chosen.values for argument in ("-f", str(file))]
    command = [str(tools.helm()), "template", "eyes", str(generate.CHART), "--namespace", "screening", *files]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
