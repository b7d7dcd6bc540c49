"""Nodes with GPUs as NVIDIA's operator labels them, and volumes that any of them can mount. Knows no cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]


def node(
    name: str,
    *,
    resources: Mapping[str, int] | None = None,
    product: str = "",
    zone: str = "",
    tainted: bool = False,
    cpu: int = 64,
) -> Object:
    """A node for kwok; `resources` are extended ones such as nvidia.com/gpu or nvidia.com/mig-2g.20gb."""
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if product:
        labels["nvidia.com/gpu.product"] = product
    if zone:
        labels["topology.kubernetes.io/zone"] = zone
    extended = {name: str(count) for name, count in (resources or {}).items()}
    room = {"cpu": str(cpu), "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110", **extended}
    taints = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}] if tainted else []
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"capacity": room, "allocatable": room},
    }


def volume(name: str, *, claim: tuple[str, str]) -> Object:
    """A volume that many nodes may write, for the one claim `(namespace, name)`."""
    namespace, claimed = claim
    return {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claimed},
            "nfs": {"server": "127.0.0.1", "path": f"/{name}"},
        },
    }
