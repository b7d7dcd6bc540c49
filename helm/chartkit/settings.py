"""The `settings` block of values.yaml, from the settings of the services: their keys, defaults, bounds and texts."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any, Final

from eyestream.settings import Settings

OWNED: Final = {
    "kafka.security_files": "mounted from kafka.tls and kafka.sasl",
    "triton.address": "the pools' headless Service, or triton.external",
    "redis.url": "in the environment, from redis.urlSecret",
    "banks.shelf": "where banks.claim or banks.image is mounted",
    "web.host": "every address of the pod",
    "web.processes": "one a pod; web.replicas are its pods",
    "web.api_keys": "mounted from web.keysSecret",
    "web.unprotected": "for trials on one machine",
    "telemetry.metrics_host": "every address of the pod",
    "telemetry.metrics_port": "monitoring.port",
    "telemetry.members": "for workers on one machine",
}
"""Settings that the chart sets itself, and from what; values.yaml does not hold them."""

DEFAULTS: Final[dict[str, Any]] = {"kafka.bootstrap": "", "triton.model": ""}
"""Defaults that differ on a cluster: what the user must say is empty, and refused with a sentence."""

_BLOCK: Final = re.compile(r"(?<=# >>> settings)([^\n]*\n)(?:.*?)(?=# <<< settings)", re.DOTALL)
_KEEP: Final = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "items", "minLength")


def replace_block(values: str) -> str:
    """values.yaml's text with the `settings` block as it must be now."""
    return _BLOCK.sub(lambda match: match[1] + block(), values)


def block() -> str:
    """The block: one map for each section, every field documented by its own docstring."""
    lines = ["settings:"]
    for section, fields in _sections():
        lines.append(f"  {section}:")
        for name, default, schema, text in fields:
            lines.append(f"    # @schema {json.dumps(schema)}")
            lines += textwrap.wrap(f"-- {text}", 112, initial_indent="    # ", subsequent_indent="    # ")
            lines.append(f"    {name}: {json.dumps(default)}")
    return "\n".join(lines) + "\n"


def _sections() -> list[tuple[str, list[tuple[str, Any, dict[str, Any], str]]]]:
    whole = Settings.model_json_schema()
    found = []
    for section, field in Settings.model_fields.items():
        described = whole["$defs"][field.annotation.__name__]["properties"]  # type: ignore[union-attr]
        defaults = field.default.model_dump(mode="json")
        fields = []
        for name, schema in described.items():
            path = f"{section}.{name}"
            if path not in OWNED:
                default = DEFAULTS.get(path, defaults[name])
                fields.append((name, default, _narrow(schema), schema.get("description", "")))
        found.append((section, fields))
    return found


def _narrow(schema: dict[str, Any]) -> dict[str, Any]:
    """What Helm needs of pydantic's schema: no titles, no defaults, a nullable type as two types."""
    if "anyOf" in schema:
        types = [part["type"] for part in schema["anyOf"]]
        bounds = {key: value for part in schema["anyOf"] for key, value in part.items() if key in _KEEP}
        return {**bounds, "type": types}
    narrow: dict[str, Any] = {key: schema[key] for key in _KEEP if key in schema}
    if schema.get("type") == "object":
        inner = schema["additionalProperties"]
        narrow["additionalProperties"] = _narrow(inner)
    return narrow
