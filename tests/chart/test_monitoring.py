"""Dashboards and alerts against the metrics that the services and Triton really export."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from chartkit import dashboards, render, tools
from chartkit.manifests import named, of_kind, pods

from eyestream.telemetry import Metrics, WebMetrics

TRITON = {
    "nv_inference_request_success": {"model", "version"},
    "nv_inference_request_failure": {"model", "version", "reason"},
    "nv_inference_count": {"model", "version"},
    "nv_inference_exec_count": {"model", "version"},
    "nv_inference_request_duration_us": {"model", "version"},
    "nv_inference_queue_duration_us": {"model", "version"},
    "nv_inference_pending_request_count": {"model", "version"},
    "nv_gpu_utilization": {"gpu_uuid"},
    "nv_gpu_memory_total_bytes": {"gpu_uuid"},
    "nv_gpu_memory_used_bytes": {"gpu_uuid"},
}
"""Triton's metrics that we use, as its documentation lists them, with their labels."""

FROM_THE_CLUSTER = {"namespace", "pod", "app_kubernetes_io_instance", "eyestream_io_pool"}
"""Labels that the PodMonitors add."""

NAME = re.compile(r"\b(?:eyestream|nv)_[a-z0-9_]+\b")


def exported() -> dict[str, set[str]]:
    """Every series that a service exports, with its labels."""
    series = {}
    services = (Metrics(), WebMetrics())
    for metric in (metric for service in services for metric in service.registry.collect()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
        for suffix in suffixes:
            series[metric.name + suffix] = {"le"} if suffix == "_bucket" else set()
    for metric in (metric for service in services for metric in vars(service).values()):
        for label in getattr(metric, "_labelnames", ()):
            for name, labels in series.items():
                if re.fullmatch(rf"{metric.describe()[0].name}(_total|_bucket|_sum|_count)?", name):
                    labels.add(label)
    return series | TRITON


def labels_of(expression: str) -> set[str]:
    """Labels that an expression groups by or matches on."""
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    matched = re.findall(r"([a-z_]+)=~?\"", expression)
    return {label.strip() for group in grouped for label in group.split(",")} | set(matched)


def alerts(rendered) -> list[dict]:
    (rule,) = of_kind(rendered("plain-keda"), "PrometheusRule")
    return rule["spec"]["groups"][0]["rules"]


def expressions() -> list[tuple[str, str]]:
    return [
        (f"{name}: {panel['title']}", target["expr"])
        for name in dashboards.DASHBOARDS
        for panel in json.loads(dashboards.render(name))["panels"]
        for target in panel["targets"]
    ]


def check(where: str, expression: str) -> None:
    known = exported()
    used = set(NAME.findall(re.sub(r"by \([^)]*\)|\{[^}]*\}", "", expression)))
    assert used, where
    assert used <= known.keys(), f"{where}: {used - known.keys()} is exported by nobody"
    allowed = FROM_THE_CLUSTER.union(*(known[name] for name in used))
    assert labels_of(expression) <= allowed, f"{where}: {labels_of(expression) - allowed} is no label of {used}"


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=[where for where, _ in expressions()])
def test_a_panel_shows_metrics_that_are_exported(where, expression):
    check(where, expression)


def test_an_alert_watches_metrics_that_are_exported(rendered):
    for alert in alerts(rendered):
        check(alert["alert"], alert["expr"])
        assert 'namespace="screening",app_kubernetes_io_instance="eyes"' in alert["expr"]


def test_a_metric_that_nobody_exports_is_noticed():
    with pytest.raises(AssertionError, match="exported by nobody"):
        check("typo", "sum(eyestream_picture_total)")
    with pytest.raises(AssertionError, match="is no label of"):
        check("typo", "sum by (colour) (eyestream_pictures_total)")


def test_fates_stages_and_parts_in_expressions_exist(rendered):
    from eyestream.telemetry import FATES, STAGES

    everything = [*(expression for _, expression in expressions()), *(alert["expr"] for alert in alerts(rendered))]
    assert {fate for text in everything for fate in re.findall(r'fate="([^"]+)"', text)} <= set(FATES)
    assert {stage for text in everything for stage in re.findall(r'stage="([^"]+)"', text)} <= set(STAGES)


def test_every_metric_of_the_services_is_on_a_dashboard():
    shown = {name for _, expression in expressions() for name in NAME.findall(expression)}
    for name in exported().keys() - TRITON.keys():
        family = re.sub(r"_(total|bucket|sum|count)$", "", name)
        assert any(other.startswith(family) for other in shown), f"nobody sees {family}"


def test_every_alert_has_its_entry_in_the_runbook_and_every_entry_its_alert(rendered):
    text = (tools.ROOT / "docs" / "runbook.md").read_text()
    entries = re.findall(r"^## (Eyestream\w+)$", text, re.MULTILINE)
    assert entries == [alert["alert"] for alert in alerts(rendered)]
    for entry in text.split("\n## ")[1:]:
        if entry.startswith("Eyestream"):
            assert "**It means**" in entry, entry[:40]
            assert "**Look**" in entry
            assert "**Do**" in entry
    for alert in alerts(rendered):
        assert alert["annotations"]["runbook_url"].endswith("runbook.md#" + alert["alert"].lower())


def test_alerts_say_how_bad_and_what_in_a_sentence(rendered):
    for alert in alerts(rendered):
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["summary"].endswith(".")
        assert re.fullmatch(r"[0-9]+m", alert["for"])
        assert alert["expr"].count("(") == alert["expr"].count(")")


def test_thresholds_come_from_the_values(rendered):
    values = {"monitoring": {"rules": {"backlogSeconds": 111, "deadLetterShare": 0.5}}}
    (rule,) = of_kind(rendered("plain-keda", values), "PrometheusRule")
    text = yaml.safe_dump(rule)
    assert "> 111 *" in text
    assert "> 0.5 *" in text
    assert "More than 50 %" in text


def test_dashboards_reach_grafana_whole_under_one_configmap_each(rendered):
    maps = [item for item in of_kind(rendered("plain-keda"), "ConfigMap") if "-dashboard-" in item["metadata"]["name"]]
    assert len(maps) == len(dashboards.DASHBOARDS)
    for item in maps:
        ((file, text),) = item["data"].items()
        board = json.loads(text)
        assert board["uid"] == file.removesuffix(".json")
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"] == {"grafana_folder": "Screening"}
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_metrics_are_read_from_ports_that_pods_have_and_policies_let_through(rendered):
    objects = rendered("plain-keda")
    for part, port in (("screening", 9464), ("triton", 8002), ("web", 9464)):
        monitor = named(objects, "PodMonitor", f"-{part}")
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        (container,) = [
            container
            for pod in pods(objects)
            if f"-{part}" in pod.owner
            for container in pod.spec["containers"]
            if any(entry == {"name": "metrics", "containerPort": port} for entry in container.get("ports", []))
        ]
        assert container
        ingress = named(objects, "NetworkPolicy", f"eyestream-{part}")["spec"]["ingress"]
        assert any(
            rule["ports"] == [{"port": port, "protocol": "TCP"}]
            and rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
            for rule in ingress
        )


def test_monitoring_is_off_unless_asked_for(rendered):
    assert not of_kind(rendered("minimal"), "PodMonitor", "PrometheusRule")
    assert "dashboard" not in yaml.safe_dump_all(rendered("minimal"))
    assert render.CHART.joinpath("files", "dashboards", "line.json").exists()


def test_a_pool_is_scaled_by_its_own_pods_each_counted_once(rendered):
    """Triton has a series for each model of a pod; and another pool's name may begin with this one's."""
    trigger = named(rendered("plain-keda"), "ScaledObject", "-triton-main")["spec"]["triggers"][0]
    query = trigger["metadata"]["query"]
    assert "* count(count by (pod) (nv_inference_request_success{" in query
    (pattern,) = set(re.findall(r'pod=~"([^"]*)"', query))
    pods_ = {
        "eyes-eyestream-triton-main-7c9d8b5f64-x2x4z": True,
        "eyes-eyestream-triton-main-7c9d8bx2x4z": True,  # Kubernetes cuts long names
        "eyes-eyestream-triton-main-b-7c9d8b5f64-x2x4z": False,
        "eyes-eyestream-triton-maintenance-7c9d8b5f64-x2x4z": False,
    }
    assert {pod: re.fullmatch(pattern, pod) is not None for pod in pods_} == pods_
