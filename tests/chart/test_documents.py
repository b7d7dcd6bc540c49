"""What the documents tell people to type exists."""

from __future__ import annotations

import importlib
import re

import yaml
from chartkit import render, tools

from eyestream.apps.cli import COMMANDS, GROUPS

DOCUMENTS = [tools.ROOT / "docs" / name for name in ("runbook.md", "UPGRADING.md", "howto/install-on-kubernetes.md")]


def _commands() -> set[str]:
    names = set(COMMANDS)
    for name, (module, _) in GROUPS.items():
        inner = importlib.import_module(module).commands.registered_commands
        names |= {name} | {f"{name} {command.name or command.callback.__name__}" for command in inner}
    return names


def test_every_command_of_ours_exists():
    for document in DOCUMENTS:
        for words in re.findall(r"`eyestream ([a-z-]+(?: [a-z-]+)?)", document.read_text()):
            assert words in _commands(), f"{document.name}: eyestream {words}"


def test_every_value_that_is_named_exists():
    values = yaml.safe_load((render.CHART / "values.yaml").read_text())
    pool = set(values["triton"]["defaults"]) | {"gpu", "models"}
    for document in DOCUMENTS:
        for path in re.findall(r"`([a-z][A-Za-z]+(?:\.[A-Za-z_]+)+)", document.read_text()):
            first, *rest = path.split(".")
            if first not in values or path.endswith((".yaml", ".safetensors", ".images", ".dlq")):
                continue
            node = values[first]
            for key in rest:
                if first in {"models", "gpus"}:
                    break
                if path.startswith("triton.pools."):
                    assert rest[-1] in pool or rest[-1] == "NAME", path
                    break
                assert key in node, f"{document.name}: {path}"
                node = node[key]


def test_the_values_of_the_how_to_install(tmp_path):
    text = (tools.ROOT / "docs" / "howto" / "install-on-kubernetes.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    file = tmp_path / "my-values.yaml"
    file.write_text(block.replace("SHA256", "a" * 64))
    assert render.manifests(file)


def test_every_shape_that_is_named_exists():
    for document in DOCUMENTS:
        for name in re.findall(r"ci/([a-z-]+)-values\.yaml", document.read_text()):
            assert (render.SHAPES / f"{name}-values.yaml").exists()


def test_links_between_documents_hold():
    for document in [*DOCUMENTS, render.CHART / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
