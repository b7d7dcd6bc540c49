"""Grafana's dashboards as data: a row of panels is a line here, the JSON around it is made."""

from __future__ import annotations

import json
from typing import Any, Final

_OWN: Final = 'namespace="$namespace",app_kubernetes_io_instance="$release"'

_TOTAL: Final = 'rate(eyestream_stage_seconds_bucket{OWN,stage="total"}[5m])'

Panel = tuple[str, str, dict[str, str]]
"""Title, unit, and the expressions by their legends; OWN stands for the labels of the chosen release."""

LINE: Final[tuple[Panel, ...]] = (
    ("Pictures by what became of them", "ops", {"{{fate}}": "sum by (fate) (rate(eyestream_pictures_total{OWN}[5m]))"}),
    ("Pictures that wait in Kafka", "short", {"waiting": "sum(eyestream_lag_messages{OWN})"}),
    (
        "From Kafka to the result",
        "s",
        {
            share: f"histogram_quantile({quantile}, sum by (le) ({_TOTAL}))"
            for share, quantile in (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))
        },
    ),
    (
        "Time in each stage, mean",
        "s",
        {
            "{{stage}}": "sum by (stage) (rate(eyestream_stage_seconds_sum{OWN}[5m])) / "
            "clamp_min(sum by (stage) (rate(eyestream_stage_seconds_count{OWN}[5m])), 0.001)"
        },
    ),
    (
        "How full batches are, mean",
        "percentunit",
        {
            "fill": "sum(rate(eyestream_batch_fill_ratio_sum{OWN}[5m])) / "
            "clamp_min(sum(rate(eyestream_batch_fill_ratio_count{OWN}[5m])), 0.001)"
        },
    ),
    ("Pictures in flight, by worker", "short", {"{{pod}}": "sum by (pod) (eyestream_in_flight_pictures{OWN})"}),
    ("Bytes in flight, by worker", "bytes", {"{{pod}}": "sum by (pod) (eyestream_in_flight_bytes{OWN})"}),
    ("Queues before the stages", "short", {"{{queue}}": "sum by (queue) (eyestream_queue_depth{OWN})"}),
    (
        "Dead letters by reason",
        "ops",
        {"{{stage}}: {{reason}}": "sum by (stage, reason) (rate(eyestream_dead_letters_total{OWN}[15m]))"},
    ),
    ("Parts that are away", "short", {"{{part}}": "max by (part) (eyestream_paused{OWN})"}),
    ("Attempts repeated", "ops", {"{{part}}": "sum by (part) (rate(eyestream_retries_total{OWN}[5m]))"}),
    (
        "Banks in service, workers",
        "short",
        {"{{programme}} {{bank}}": "count by (programme, bank) (eyestream_bank_info{OWN} == 1)"},
    ),
    (
        "Banks exchanged",
        "short",
        {"{{programme}}": "sum by (programme) (increase(eyestream_bank_swaps_total{OWN}[1h]))"},
    ),
    ("Workers", "short", {"workers": "count(eyestream_lag_messages{OWN})"}),
)

TRITON: Final[tuple[Panel, ...]] = (
    (
        "Pictures encoded",
        "ops",
        {"{{model}} {{eyestream_io_pool}}": "sum by (model, eyestream_io_pool) (rate(nv_inference_count{OWN}[5m]))"},
    ),
    (
        "Requests that failed",
        "ops",
        {"{{model}} {{reason}}": "sum by (model, reason) (rate(nv_inference_request_failure{OWN}[5m]))"},
    ),
    (
        "Pictures in one execution, mean",
        "short",
        {
            "{{model}}": "sum by (model) (rate(nv_inference_count{OWN}[5m])) / "
            "clamp_min(sum by (model) (rate(nv_inference_exec_count{OWN}[5m])), 0.001)"
        },
    ),
    (
        "Time of a request, mean",
        "µs",
        {
            "{{model}} whole": "sum by (model) (rate(nv_inference_request_duration_us{OWN}[5m])) / "
            "clamp_min(sum by (model) (rate(nv_inference_request_success{OWN}[5m])), 0.001)",
            "{{model}} queue": "sum by (model) (rate(nv_inference_queue_duration_us{OWN}[5m])) / "
            "clamp_min(sum by (model) (rate(nv_inference_request_success{OWN}[5m])), 0.001)",
        },
    ),
    ("Requests that wait", "short", {"{{model}}": "sum by (model) (nv_inference_pending_request_count{OWN})"}),
    (
        "Requests by pod: clients take turns",
        "ops",
        {"{{pod}}": "sum by (pod) (rate(nv_inference_request_success{OWN}[5m]))"},
    ),
    ("GPU in use", "percentunit", {"{{pod}}": "max by (pod) (nv_gpu_utilization{OWN})"}),
    (
        "GPU memory in use",
        "percentunit",
        {"{{pod}}": "max by (pod) (nv_gpu_memory_used_bytes{OWN}) / max by (pod) (nv_gpu_memory_total_bytes{OWN})"},
    ),
)

_FIRST_BYTE: Final = "rate(eyestream_web_request_seconds_bucket{OWN}[5m])"

RESULTS: Final[tuple[Panel, ...]] = (
    (
        "Requests by status",
        "reqps",
        {"{{status}}": "sum by (status) (rate(eyestream_web_requests_total{OWN}[5m]))"},
    ),
    (
        "Requests by route",
        "reqps",
        {"{{method}} {{route}}": "sum by (method, route) (rate(eyestream_web_requests_total{OWN}[5m]))"},
    ),
    (
        "Time to the first byte",
        "s",
        {
            share: f"histogram_quantile({quantile}, sum by (le) ({_FIRST_BYTE}))"
            for share, quantile in (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))
        },
    ),
    (
        "Time to the first byte by route, mean",
        "s",
        {
            "{{route}}": "sum by (route) (rate(eyestream_web_request_seconds_sum{OWN}[5m])) / "
            "clamp_min(sum by (route) (rate(eyestream_web_request_seconds_count{OWN}[5m])), 0.001)"
        },
    ),
    (
        "Requests refused before they were read",
        "reqps",
        {"{{reason}}": "sum by (reason) (rate(eyestream_web_refusals_total{OWN}[5m]))"},
    ),
    ("Clients that follow events, by pod", "short", {"{{pod}}": "sum by (pod) (eyestream_web_event_streams{OWN})"}),
    (
        "Entries in the audit record",
        "short",
        {"{{action}}": "sum by (action) (increase(eyestream_web_deeds_total{OWN}[1h]))"},
    ),
    (
        "Pictures scored on demand",
        "ops",
        {"{{outcome}}": "sum by (outcome) (rate(eyestream_web_scores_total{OWN}[5m]))"},
    ),
)

DASHBOARDS: Final = {
    "line": ("eyestream: the line", LINE),
    "triton": ("eyestream: Triton", TRITON),
    "results": ("eyestream: the results service", RESULTS),
}


def render(name: str) -> str:
    """One dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    board = {
        "title": title,
        "uid": f"eyestream-{name}",
        "tags": ["eyestream"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_source(), _variable("namespace", ""), _variable("release", 'namespace="$namespace"')]},
        "panels": [_panel(number, *panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(board, indent=1, ensure_ascii=False) + "\n"


def _panel(number: int, title: str, unit: str, expressions: dict[str, str]) -> dict[str, Any]:
    return {
        "id": number + 1,
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "$source"},
        "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + index), "expr": expression.replace("OWN", _OWN), "legendFormat": legend}
            for index, (legend, expression) in enumerate(expressions.items())
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, matchers: str) -> dict[str, Any]:
    label = {"namespace": "namespace", "release": "app_kubernetes_io_instance"}[name]
    series = (
        '{__name__=~"eyestream_lag_messages|nv_inference_count|eyestream_web_event_streams"'
        + (f",{matchers}" if matchers else "")
        + "}"
    )
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$source"},
        "query": {"query": f"label_values({series}, {label})", "refId": name},
        "refresh": 2,
        "sort": 1,
    }
