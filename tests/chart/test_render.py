"""The chart as files: lint, goldens, reproducibility, what is generated."""

from __future__ import annotations

import re

import pytest
from chartkit import generate, render, settings, tools, values

COMMAND = "PYTHONPATH=helm .venv/bin/python -m chartkit"


def test_lint_finds_nothing(shape):
    assert "0 chart(s) failed" in render.lint(render.SHAPES / f"{shape}-values.yaml")


def test_goldens_are_what_the_chart_renders(shape):
    file = render.SHAPES / f"{shape}-values.yaml"
    golden = render.golden(file)
    assert golden.exists(), f"run: {COMMAND} goldens"
    assert render.manifests(file) == golden.read_text("utf-8"), f"if you meant it, run: {COMMAND} goldens"


def test_every_golden_has_its_shape():
    assert {file.name for file in render.GOLDENS.iterdir()} == {render.golden(shape).name for shape in render.shapes()}


def test_two_renders_are_byte_equal_and_an_upgrade_renders_the_same(shape):
    file = render.SHAPES / f"{shape}-values.yaml"
    once = render.manifests(file)
    assert render.manifests(file) == once
    assert render.manifests(file, upgrade=True) == once


def test_no_template_asks_the_cluster_the_clock_or_chance():
    forbidden = re.compile(
        r"\b(lookup|rand\w+|gen(CA|Cert|PrivateKey|Sel|Signed)\w*|now|htpasswd|bcrypt|uuidv4)\b|APIVersions"
    )
    for file in (render.CHART / "templates").rglob("*"):
        if file.is_file():
            actions = " ".join(
                re.findall(r"\{\{.*?\}\}", re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL), re.DOTALL)
            )
            assert not forbidden.search(re.sub(r'"(?:[^"\\]|\\.)*"', '""', actions)), file


def test_what_is_generated_is_up_to_date():
    assert generate.drifted() == [], f"run: {generate.COMMAND}"


def test_drift_of_a_setting_is_noticed(tmp_path):
    text = (render.CHART / "values.yaml").read_text()
    assert settings.replace_block(text) == text
    changed = text.replace("max_batch: 8", "max_batch: 9")
    assert changed != text
    assert settings.replace_block(changed) == text


def test_a_value_without_documentation_is_refused(tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text("a:\n  # -- Known.\n  b: 1\n  c: 2\n")
    with pytest.raises(values.Undocumented, match=r"a\.c has no `# --` comment"):
        values.read(file)
    file.write_text("# -- Any map.\na: {}\n")
    with pytest.raises(values.Undocumented, match="needs a `# @schema` line"):
        values.read(file)


def test_settings_that_the_chart_makes_exist():
    from eyestream.settings import Settings

    for path in (*settings.OWNED, *settings.DEFAULTS):
        section, field = path.split(".")
        assert field in Settings.model_fields[section].annotation.model_fields, path


def test_the_schema_is_strict_everywhere_but_where_the_user_chooses_the_keys():
    import json

    schema = json.loads((render.CHART / "values.schema.json").read_text())
    open_maps = []

    def walk(node, path):
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False:
                open_maps.append(path)
            for key, value in node.items():
                walk(value, f"{path}/{key}")
        elif isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, f"{path}/{index}")

    walk(schema, "")
    assert open_maps == ["/properties/global"]


def test_the_chart_s_oldest_kubernetes_is_the_one_that_is_checked():
    import yaml

    chart = yaml.safe_load((render.CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={tools.OLDEST}-0"
    assert "dependencies" not in chart


def test_every_template_file_takes_part_in_a_shape():
    text = "".join(render.golden(shape).read_text() for shape in render.shapes())
    sources = set(re.findall(r"# Source: eyestream/templates/(\S+)", text))
    files = {str(file.relative_to(render.CHART / "templates")) for file in (render.CHART / "templates").rglob("*.yaml")}
    assert sources == files


def _notes(shape, *arguments):
    import subprocess

    command = [
        tools.helm(),
        "install",
        "eyes",
        render.CHART,
        "--dry-run=client",
        "--hide-secret",
        "-f",
        shape,
        *arguments,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_notes_tell_the_next_command():
    for shape in render.shapes():
        notes = _notes(shape)
        assert "helm test eyes" in notes
        assert "kubectl -n" in notes


def test_the_notes_say_that_nobody_may_call_only_where_a_policy_sees_to_it():
    shape = render.SHAPES / "plain-keda-values.yaml"
    assert "for nobody yet" in _notes(shape, "--set", "web.clients=null")
    assert "for nobody yet" not in _notes(shape, "--set", "web.clients=null,networkPolicy.enabled=false")
    assert "for nobody yet" not in _notes(shape)


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("settings.web.issuer=https://idp.example.org", "networkPolicy.extraEgress.web"),
        ("settings.pictures.references[0]=s3://store/", "networkPolicy.extraEgress.screening"),
    ],
)
def test_the_notes_say_what_a_policy_keeps_from_being_called(setting, rule):
    shape = render.SHAPES / "plain-keda-values.yaml"
    assert rule in _notes(shape, "--set", setting)
    assert rule not in _notes(shape, "--set", f"{setting},networkPolicy.enabled=false")
    assert rule not in _notes(shape, "--set", f"{setting},{rule}[0].ports[0].port=443")
    assert rule not in _notes(shape)
