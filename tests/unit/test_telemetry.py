from __future__ import annotations

import json
import logging

import pytest

from eyestream import telemetry


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = before[0], before[1]


def test_a_log_record_keeps_only_the_fields_on_the_list(root_logger, capsys):
    telemetry.log_as_json()
    logging.getLogger("eyestream.test").info(
        "stored", extra={"action": telemetry.Verb.STORED, "count": 3, "patient_name": "Ada Example"}
    )
    line = json.loads(capsys.readouterr().err)
    assert line["action"] == "stored"
    assert line["count"] == 3
    assert line["level"] == "INFO"
    assert "Ada" not in json.dumps(line)


def test_a_child_span_stays_in_its_trace():
    parent = telemetry.new_traceparent()
    child = telemetry.child_traceparent(parent)
    assert child.split("-")[1] == parent.split("-")[1]
    assert child != parent
    assert telemetry.TRACEPARENT.match(child)


@pytest.mark.parametrize("hostile", [None, "", "00-zz", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "x" * 10_000])
def test_a_broken_trace_context_starts_a_new_trace(hostile):
    assert telemetry.TRACEPARENT.match(telemetry.child_traceparent(hostile))


def test_metric_names_follow_the_conventions():
    for family in telemetry.Metrics().registry.collect():
        assert family.name.startswith("eyestream_"), family.name
        assert family.documentation.endswith("."), family.name


def test_two_lines_in_one_process_do_not_share_metrics():
    first, second = telemetry.Metrics(), telemetry.Metrics()
    first.pictures.labels("stored").inc()
    assert second.registry.get_sample_value("eyestream_pictures_total", {"fate": "stored"}) == 0
