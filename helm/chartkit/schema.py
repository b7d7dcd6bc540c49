"""values.schema.json from values.yaml: strict everywhere but in `global`, which belongs to umbrella charts."""

from __future__ import annotations

from typing import Any, Final

from chartkit.values import Node

_NAME: Final = "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_DNS_LABEL: Final = "^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"
_QUANTITY: Final = {"type": ["string", "number"], "pattern": "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"}
_SIZE: Final = "[0-9]+(\\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
_STRINGS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_QUANTITIES: Final = {"type": "object", "additionalProperties": _QUANTITY}


def _strict(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return _fields(properties) | ({"required": list(required)} if required else {})


def _fields(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_PORT: Final = {"type": "integer", "minimum": 1, "maximum": 65535}
_SELECTOR: Final = {"type": "object"}
_PEER: Final = _strict(
    namespaceSelector=_SELECTOR,
    podSelector=_SELECTOR,
    ipBlock=_fields({"cidr": {"type": "string"}, "except": {"type": "array", "items": {"type": "string"}}}),
)

_SELECTING: Final = "^(app\\.kubernetes\\.io/(name|instance|component)|eyestream\\.io/pool|serves\\.eyestream\\.io/.*)$"
"""Labels that the chart picks pods by: another value of one, and Kubernetes refuses the workload half installed."""

DEFINITIONS: Final[dict[str, Any]] = {
    "labels": _STRINGS,
    "addedLabels": {**_STRINGS, "propertyNames": {"not": {"pattern": _SELECTING}}},
    "annotations": _STRINGS,
    "free": {"type": "object"},
    "env": {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Z_][A-Z0-9_]*$", "not": {"pattern": "^(EYESTREAM_|HOME$)"}},
        "additionalProperties": {"type": "string"},
    },
    "port": _PORT,
    "size": {"type": "string", "pattern": f"^{_SIZE}$"},
    "sizeOrNone": {"type": "string", "pattern": f"^({_SIZE})?$"},
    "address": {"type": "string", "pattern": "^(https?://[^/ ]+.*)?$"},
    "intOrPercent": {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%$"},
    "imageDigest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "secretName": _strict(("name",), name={"type": "string", "pattern": _NAME}),
    "resources": _strict(requests=_QUANTITIES, limits=_QUANTITIES),
    "tolerations": {
        "type": "array",
        "items": _strict(
            key={"type": "string"},
            operator={"enum": ["Exists", "Equal"]},
            value={"type": "string"},
            effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
            tolerationSeconds={"type": "integer"},
        ),
    },
    "peers": {"type": "array", "items": _PEER},
    "egress": {
        "type": "array",
        "items": _strict(
            to={"type": "array", "items": _PEER},
            ports={
                "type": "array",
                "items": _strict(port=_PORT, endPort=_PORT, protocol={"enum": ["TCP", "UDP", "SCTP"]}),
            },
        ),
    },
    "model": _strict(
        ("digest", "checkpoint"),
        encoder={"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"},
        digest={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        checkpoint=_strict(
            bundled={"type": "boolean"},
            claim={"type": "string", "pattern": _NAME},
            image={"type": "string", "minLength": 1},
            url={"type": "string", "pattern": "^[a-z0-9]+://"},
            path={"type": "string", "pattern": "^[^/].*$"},
        ),
    ),
    "gpu": _strict(
        ("resource",),
        resource={"type": "string", "pattern": "^([a-z0-9.-]+/[A-Za-z0-9._-]+)?$"},
        count={"type": "integer", "minimum": 1},
        product={"type": "string"},
        computeCapability={"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"},
        migProfile={"type": "string", "pattern": "^[0-9]+g\\.[0-9]+gb$"},
        tolerations={"$ref": "#/$defs/tolerations"},
        nodeSelector=_STRINGS,
        runtimeClassName={"type": "string"},
    ),
}


def build(root: Node) -> dict[str, Any]:
    """The whole schema. `pool` is every key of triton.defaults, none required, with what makes a pool."""
    properties = {node.key: _of(node) for node in root.children}
    defaults = properties["triton"]["properties"]["defaults"]
    pool = _strict(
        ("gpu", "models"),
        **defaults["properties"],
        gpu={"type": "string", "minLength": 1},
        models={"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string"}},
    )
    named = {"propertyNames": {"pattern": _DNS_LABEL}}
    properties["triton"]["properties"]["pools"] |= named
    properties["gpus"] |= named
    properties["models"] |= {"propertyNames": {"pattern": "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"}}
    # Helm hands a sub-chart its parent's `enabled` condition along with its values.
    properties["enabled"] = {"type": "boolean", "description": "For umbrella charts; this chart does not read it."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the eyestream chart",
        **_fields(properties),
        "$defs": DEFINITIONS | {"pool": pool},
    }


def _of(node: Node) -> dict[str, Any]:
    doc = {"description": node.doc} if node.doc else {}
    if node.children and not _open_map(node):
        schema: dict[str, Any] = _fields({child.key: _of(child) for child in node.children})
        return {**schema, **(node.schema if node.schema and "$ref" not in node.schema else {}), **doc}
    if node.schema is None:
        return {"type": _type(node.default), **doc}
    if "$ref" in node.schema:  # draft 7 reads nothing beside a $ref
        return {"allOf": [node.schema], **doc}
    kinds = {"type": "object"} if isinstance(node.default, dict) else {}
    return {**kinds, **node.schema, **doc}


def _open_map(node: Node) -> bool:
    """Maps whose keys the user chooses; what stands in them is only a default."""
    return bool(node.schema and isinstance(node.schema.get("additionalProperties"), dict))


def _type(default: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return kinds[type(default)]
