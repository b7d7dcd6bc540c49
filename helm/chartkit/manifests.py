"""Looks into rendered objects: workloads, their pods, what selects them. Knows no chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """The template of a workload's pods; `owner` names the workload, and the group within where it has several."""

    owner: str
    labels: dict[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        """Containers and init containers."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of that kind whose name ends so."""
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"].endswith(name)]
    return found


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Every object of these kinds."""
    return [item for item in objects if item["kind"] in kinds]


def pods(objects: list[Object]) -> list[Pod]:
    """Every pod template of every kind of workload that the chart knows."""
    return [pod for item in objects for pod in _templates(item)]


def _templates(item: Object) -> Iterator[Pod]:
    owner = f"{item['kind']}/{item['metadata']['name']}"
    spec = item.get("spec", {})
    if item["kind"] in {"Deployment", "StatefulSet", "Job"}:
        yield _pod(owner, spec["template"])
    elif item["kind"] == "RayService":
        cluster = spec["rayClusterConfig"]
        yield _pod(f"{owner}/head", cluster["headGroupSpec"]["template"])
        for group in cluster["workerGroupSpecs"]:
            yield _pod(f"{owner}/{group['groupName']}", group["template"])
    elif item["kind"] == "JobSet":
        for job in spec["replicatedJobs"]:
            yield _pod(f"{owner}/{job['name']}", job["template"]["spec"]["template"])


def _pod(owner: str, template: Object) -> Pod:
    return Pod(owner, template["metadata"]["labels"], template["spec"])


def selectors(objects: list[Object]) -> Iterator[tuple[str, dict[str, str]]]:
    """Everything that picks pods by labels, with its own name."""
    for item in objects:
        name = f"{item['kind']}/{item['metadata']['name']}"
        spec = item.get("spec", {})
        match item["kind"]:
            case "Service":
                yield name, spec["selector"]
            case "Deployment" | "StatefulSet" | "PodDisruptionBudget" | "PodMonitor":
                yield name, spec["selector"]["matchLabels"]
            case "NetworkPolicy":
                yield name, spec["podSelector"]["matchLabels"]
                yield from ((f"{name} peer", labels) for labels in _peers(spec))
        for pod in _templates(item):
            for spread in pod.spec.get("topologySpreadConstraints", []):
                yield f"{pod.owner} spread", spread["labelSelector"]["matchLabels"]


def _peers(spec: Object) -> Iterator[dict[str, str]]:
    for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
        for peer in [*rule.get("from", []), *rule.get("to", [])]:
            if "podSelector" in peer and "namespaceSelector" not in peer:
                yield peer["podSelector"]["matchLabels"]


def picked(selector: dict[str, str], among: list[Pod]) -> list[Pod]:
    """The pods that carry every label of the selector."""
    return [pod for pod in among if selector.items() <= pod.labels.items()]
