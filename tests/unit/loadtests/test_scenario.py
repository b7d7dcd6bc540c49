"""Scenario files: every one that is shipped is good, and a wrong one is told of by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from eyestream.errors import Misconfigured
from eyestream_load import scenario
from eyestream_load.scenario import Scenario

MINIMAL = {"title": "t", "seconds": 10, "cameras": {"count": 2, "rate": [[0, 1]]}}


def write(folder, text):
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_the_shapes_that_people_ask_for_are_there():
    assert set(scenario.available()) == {
        "bank-swap",
        "clinic-morning",
        "outage-catch-up",
        "peak-hour",
        "reader-rush",
        "soak",
    }


@pytest.mark.parametrize("name", scenario.available())
def test_a_shipped_scenario_is_good_and_bears_its_file_s_name(name):
    assert scenario.load(name).name == name


@pytest.mark.parametrize("name", scenario.available())
@pytest.mark.parametrize("seconds", [7.0, 1000.0])
def test_a_shipped_scenario_can_be_stretched(name, seconds):
    whole = scenario.load(name)
    stretched = whole.lasting(seconds)
    assert stretched.seconds == seconds
    if whole.cameras:
        before = scenario.total(whole.cameras.rate, whole.seconds) / whole.seconds
        assert scenario.total(stretched.cameras.rate, seconds) / seconds == pytest.approx(before)


def test_a_name_that_is_none_is_told_with_those_there_are():
    with pytest.raises(Misconfigured, match=r"no scenario rush-hour.*clinic-morning"):
        scenario.load("rush-hour")


@pytest.mark.parametrize(("file", "name"), [("Our Morning.toml", "our-morning"), ("!.toml", "unnamed")])
def test_a_file_may_be_called_as_people_call_files(tmp_path, file, name):
    text = Path(write(tmp_path, (scenario.FOLDER / "clinic-morning.toml").read_text())).rename(tmp_path / file)
    assert scenario.load(str(text)).name == name


def test_every_wrong_key_is_named_with_its_place(tmp_path):
    text = 'title = "x"\nseconds = -1\ntypo = 3\n[cameras]\ncount = 0\nrate = [[0, 1]]\n'
    with pytest.raises(Misconfigured) as raised:
        scenario.load(write(tmp_path, text))
    for expected in ("mine.toml", "seconds:", "typo:", "cameras.count:"):
        assert expected in str(raised.value)


def test_a_file_that_is_no_toml_is_told_of(tmp_path):
    with pytest.raises(Misconfigured, match="cannot be read"):
        scenario.load(write(tmp_path, "title = "))


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        ([[1, 1]], "begins at second 0"),
        ([[0, 1], [0, 2]], "must rise"),
        ([[0, -1]], "cannot be negative"),
        ([[0, 1], [11, 1]], "goes on after the end"),
        ([[0, 0]], "arrivals"),
        ([[0, 0.01]], "arrivals"),
        ([[0, 1e9]], "arrivals"),
    ],
)
def test_a_rate_that_cannot_be_is_refused(rate, told):
    with pytest.raises(ValueError, match=told):
        Scenario.model_validate(MINIMAL | {"cameras": {"count": 2, "rate": rate}})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cameras": None}, "nobody does anything"),
        ({"outage": {"begins_s": 5, "lasts_s": 6}}, "end before"),
        ({"bank_swap": {"at_s": 10}}, "before the end"),
        ({"photographs": {"distinct": 3}}, "no photograph twice"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Scenario.model_validate(MINIMAL | changes)


def test_more_cameras_send_more():
    doubled = Scenario.model_validate(MINIMAL).with_cameras(4)
    assert doubled.cameras.count == 4
    assert scenario.total(doubled.cameras.rate, 10) == 20


def test_more_cameras_than_can_be_are_refused():
    with pytest.raises(Misconfigured, match=r"cameras.count"):
        Scenario.model_validate(MINIMAL).with_cameras(5000)


def test_a_scenario_of_readers_alone_needs_a_results_service():
    readers = Scenario.model_validate(MINIMAL | {"cameras": None, "readers": {"rate": [[0, 1]]}})
    with pytest.raises(Misconfigured, match="LOAD_WEB_URL"):
        readers.without_readers()


def test_the_integral_of_a_rate_is_that_of_its_straight_lines():
    assert scenario.total(((0.0, 0.0), (10.0, 4.0)), 20.0) == 20.0 + 40.0
