"""Labels: those of the chart, and those that the user adds."""

from __future__ import annotations

import pytest
import yaml
from chartkit import render
from chartkit.manifests import pods


class Once(yaml.CSafeLoader):
    """Refuses a mapping that has a key twice, as YAML says; PyYAML's own takes the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), [key for key in keys if keys.count(key) > 1]
        return super().construct_mapping(node, deep)


def test_a_label_that_the_user_adds_wins_and_is_there_once(shape):
    """Helm takes a key that is there twice, and those who read what it renders, as Flux does, refuse it."""
    own = {"app.kubernetes.io/part-of": "suite", "app.kubernetes.io/version": "7", "release": "suite"}
    monitoring = {part: {"enabled": True, "labels": {"release": "prometheus"}} for part in ("podMonitor", "rules")}
    values = {
        "global": {"commonLabels": own},
        "screening": {"podLabels": {"app.kubernetes.io/part-of": "line"}},
        "monitoring": monitoring | {"dashboards": {"enabled": True, "labels": {"app.kubernetes.io/part-of": "boards"}}},
    }
    text = render.manifests(render.SHAPES / f"{shape}-values.yaml", values=values)
    items = [item for item in yaml.load_all(text, Loader=Once) if not item["metadata"]["name"].endswith("-extra")]
    for item in items:
        labels = own | ({"release": "prometheus"} if item["kind"] in {"PodMonitor", "PrometheusRule"} else {})
        if "-dashboard-" in item["metadata"]["name"]:
            labels["app.kubernetes.io/part-of"] = "boards"
        assert item["metadata"]["labels"].items() >= labels.items()
    pods_ = pods(items)
    assert {pod.labels["app.kubernetes.io/part-of"] for pod in pods_} == {"suite", "line"}


def test_a_key_that_is_there_twice_is_noticed():
    with pytest.raises(AssertionError, match="a"):
        yaml.load("{a: 1, b: {a: 2}, a: 3}", Loader=Once)
