"""`python -m chartkit generate | goldens | render | tools`: see each command's help."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chartkit import generate, modules, render, tools


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="chartkit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate", help="write the settings block, values.schema.json and the README of the chart")
    commands.add_parser("tools", help="fetch Helm, kubectl and the schemas; print where they are")
    commands.add_parser("goldens", help="render every shape of helm/eyestream/ci into tests/chart/goldens")
    rendering = commands.add_parser("render", help="render the chart to standard output")
    rendering.add_argument("values", nargs="*", type=Path, help="values files; helm/eyestream/ci holds the main shapes")
    chosen = parser.parse_args()
    if chosen.command == "generate":
        for file in generate.write():
            sys.stdout.write(f"{file.relative_to(tools.ROOT)}\n")
        return 0
    if chosen.command == "tools":
        for path in (tools.helm(), tools.kubectl(), tools.kubernetes_schemas(tools.OLDEST), *modules.crds()):
            sys.stdout.write(f"{path}\n")
        return 0
    if chosen.command == "goldens":
        render.GOLDENS.mkdir(parents=True, exist_ok=True)
        for shape in render.shapes():
            render.golden(shape).write_text(render.manifests(shape), "utf-8")
        return 0
    try:
        sys.stdout.write(render.manifests(*chosen.values))
    except render.Refused as refused:
        sys.stderr.write(str(refused))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
