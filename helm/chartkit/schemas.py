"""Checks objects against the schemas of Kubernetes and of operators; an unknown kind is a fault."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from chartkit import modules, tools
from chartkit.manifests import Object

OWN: Final = tools.ROOT / "tests" / "chart" / "schemas"
"""What Strimzi's generator wrote; `make test-cluster` compares it with a fresh one, which needs Java and Maven."""


def faults(item: Object, kubernetes: str) -> list[str]:
    """What is wrong with an object, each with its place; unknown fields count, and so does a kind without a schema."""
    version, kind = item.get("apiVersion", ""), item.get("kind", "")
    name = f"{kind}/{item.get('metadata', {}).get('name')}"
    validator = _custom().get((version, kind)) or _builtin(version, kind, kubernetes)
    if validator is None:
        return [f"{name}: nothing is known of {version} {kind} in Kubernetes {kubernetes}"]
    return [
        f"{name}: {'.'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in validator.iter_errors(item)
    ]


def template_faults(template: Object, kubernetes: str) -> list[str]:
    """What is wrong with a pod template inside a custom resource."""
    validator = _builtin("v1", "PodTemplateSpec", kubernetes)
    assert validator is not None
    return [f"{'.'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in validator.iter_errors(template)]


@functools.cache
def _builtin(version: str, kind: str, kubernetes: str) -> Any:
    group, _, number = version.rpartition("/")
    stem = "-".join(part for part in (kind.lower(), group.split(".")[0], number) if part)
    folder = tools.kubernetes_schemas(kubernetes)
    if not (folder / f"{stem}.json").is_file():
        return None
    definitions = Resource.from_contents(_read(folder / "_definitions.json"), DRAFT7)
    registry = Registry().with_resource("_definitions.json", definitions)
    return Draft7Validator(_read(folder / f"{stem}.json"), registry=registry)


@functools.cache
def _read(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


@functools.cache
def _custom() -> dict[tuple[str, str], Any]:
    files = [*modules.crds(), *OWN.glob("*.yaml")]
    return {key: Draft7Validator(schema) for file in files for key, schema in _versions(file)}


def _versions(file: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    spec = yaml.load(file.read_text("utf-8"), Loader=yaml.CSafeLoader)["spec"]
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), schema


def _strict(schema: Any) -> Any:
    """The API server prunes unknown fields of custom resources in silence; here they are faults."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key != "description"}
    if schema.get("x-kubernetes-int-or-string") is True:
        made.pop("type", None)
    described = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if described and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made
