"""What people say of a picture outside its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eyestream.device import labels
from eyestream.device.labels import Labels, NamePattern
from eyestream.errors import Misconfigured, Rejected


@pytest.mark.parametrize(
    ("name", "exam", "eye", "field"),
    [
        ("E17_R_macula.jpg", "E17", "R", "macula"),
        ("2024_03_01_OS_disc.dcm", "2024_03_01", "L", "disc"),
        ("E17_od_temporal.png", "E17", "R", "other"),
        ("E17_right_ONH.png", "E17", "R", "disc"),
    ],
)
def test_a_name_of_the_pattern_is_read(name, exam, eye, field):
    assert NamePattern("{exam}_{laterality}_{field}").read(Path(name)) == Labels(exam=exam, laterality=eye, field=field)


@pytest.mark.parametrize("name", ["E17.jpg", "E17_X_macula.jpg", "_R_macula.jpg", "E17-R-macula.jpg"])
def test_a_name_of_another_form_says_nothing(name):
    assert NamePattern("{exam}_{laterality}_{field}").read(Path(name)) is None


def test_text_of_a_pattern_is_taken_literally():
    pattern = NamePattern("scan({subject}).{any}+{laterality}")
    assert pattern.read(Path("scan(4711).a.b+L.jpg")) == Labels(subject="4711", laterality="L")
    assert pattern.read(Path("scan4711.a+L.jpg")) is None


@pytest.mark.parametrize("template", ["{exam}_{eye}", "{exam}_{exam}", "{}"])
def test_a_pattern_that_cannot_be_is_refused(template):
    with pytest.raises(Misconfigured, match="pattern"):
        NamePattern(template)


@pytest.mark.parametrize(
    ("name", "eye", "field"),
    [
        ("image_R.jpg", "R", None),
        ("OS-macula-003.jpg", "L", "macula"),
        ("Right disc.tif", "R", "disc"),
        ("L_and_R.jpg", None, None),
        ("retina.jpg", None, None),
    ],
)
def test_without_a_pattern_a_name_tells_eye_and_field_but_never_whose(name, eye, field):
    assert labels.guess(Path(name)) == Labels(laterality=eye, field=field)


def test_a_sidecar_is_read(tmp_path):
    said = {"exam": "E17", "subject": "4711", "laterality": "L", "captured_at": "2024-03-01T10:00:00+01:00"}
    (tmp_path / "eye.jpg.json").write_text(json.dumps(said))
    read = labels.read_sidecar(tmp_path / "eye.jpg")
    assert (read.exam, read.subject, read.laterality, read.captured_at.hour) == ("E17", "4711", "L", 10)


def test_a_sidecar_of_a_windows_program_is_read(tmp_path):
    (tmp_path / "eye.jpg.json").write_text('{"exam": "E17"}\r\n', "utf-8-sig")
    assert labels.read_sidecar(tmp_path / "eye.jpg").exam == "E17"


def test_no_sidecar_says_nothing(tmp_path):
    assert labels.read_sidecar(tmp_path / "eye.jpg") == Labels()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"patient": "Lindqvist"}', '{"laterality": "Lindqvist"}', '{"exam": ""}', '{"priority": 99}',
     '{"captured_at": "2024-03-01T10:00:00"}', '{"captured_at": "1980-01-01T00:00:00Z"}', "\x00" * 100_000],
)  # fmt: skip
def test_a_wrong_sidecar_is_refused_without_its_values(tmp_path, text):
    (tmp_path / "eye.jpg.json").write_text(text)
    with pytest.raises(Rejected) as caught:
        labels.read_sidecar(tmp_path / "eye.jpg")
    assert caught.value.reason == "bad-sidecar"
    assert "Lindqvist" not in str(caught.value)


def test_labels_do_not_print_whose_they_are():
    assert "4711" not in repr(Labels(exam="E4711", subject="4711"))


@pytest.mark.parametrize(("said", "eye"), [((None, "R", "R"), "R"), ((None, "U", "L"), "L"), ((None, None), "U")])
def test_sources_agree_on_an_eye(said, eye):
    assert labels.agree_on_eye(*said) == eye


def test_sources_that_disagree_on_the_eye_are_refused():
    with pytest.raises(Rejected) as caught:
        labels.agree_on_eye("R", None, "L")
    assert caught.value.reason == "laterality-conflict"
