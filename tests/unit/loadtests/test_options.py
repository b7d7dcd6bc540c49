"""The variables of a load test: a typing error is no variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from eyestream.errors import Misconfigured
from eyestream_load import options
from eyestream_load.__main__ import load


@pytest.fixture(autouse=True)
def nothing_else_is_set(monkeypatch):
    for name in options.Options.model_fields:
        monkeypatch.delenv(f"LOAD_{name.upper()}", raising=False)


def test_every_variable_that_there_is_is_read(monkeypatch):
    monkeypatch.setenv("LOAD_SCENARIO", "soak")
    monkeypatch.setenv("LOAD_SECONDS", "12.5")
    monkeypatch.setenv("LOAD_OUT", "results")
    monkeypatch.setenv("LOAD_WEB_URL", "https://eyes.example")
    monkeypatch.setenv("load_web_key", "es_1")  # names are read whatever their case
    monkeypatch.setenv("LOAD_TEXT_TOWER", "tower")
    told = options.read()
    assert (told.scenario, told.seconds, told.web_url) == ("soak", 12.5, "https://eyes.example")
    assert told.web_key.get_secret_value() == "es_1"
    assert (told.out, told.text_tower) == (Path("results"), Path("tower"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("LOAD_SENARIO", "LOAD_SCENARIO"),
        ("LOAD_SECOND", "LOAD_SECONDS"),
        ("LOAD_WEBKEY", "LOAD_WEB_KEY"),
        ("LOAD_TOWER", "LOAD_TEXT_TOWER"),
        ("load_senario", "LOAD_SCENARIO"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_name_that_was_meant(monkeypatch, typed, meant):
    monkeypatch.setenv(typed, "secret")
    with pytest.raises(Misconfigured, match=f"{typed}, which no option .* did you mean {meant}\\?") as refused:
        options.read()
    assert "secret" not in str(refused.value)


def test_it_is_refused_before_a_stack_is_started_for_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LOAD_SENARIO", "soak")
    with pytest.raises(SystemExit, match="LOAD_SENARIO"):
        load("clinic-morning", state=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_one_that_is_like_none_is_refused_with_all_that_there_are(monkeypatch):
    monkeypatch.setenv("LOAD_XYZZY", "1")
    with pytest.raises(Misconfigured, match=r"there are LOAD_SCENARIO, .*LOAD_TEXT_TOWER"):
        options.read()


def test_others_variables_are_nobody_s_business(monkeypatch):
    monkeypatch.setenv("LOADER", "1")
    monkeypatch.setenv("WORKLOAD_NAME", "1")
    assert options.read().scenario == "clinic-morning"


def test_a_wrong_value_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("LOAD_SECONDS", "-1")
    with pytest.raises(Misconfigured, match="LOAD_SECONDS: Input should be greater than 0"):
        options.read()
