"""The banks that a worker was started with, and exams of programmes that are not among them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from eyestream.apps.web_wiring import CurrentBanks
from eyestream.apps.wiring import BanksInService
from eyestream.banks.build import build
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.programmes import Programme
from eyestream.records import digest
from eyestream.telemetry import Metrics
from eyestream.testing.texts import FakeTextEncoder

ENCODER, PREPROCESSING = digest("encoder"), digest("preprocessing")


@pytest.fixture
def shelf(tmp_path):
    programme, shelf = Programme.builtin("demo"), Shelf(tmp_path)
    head = build(programme, FakeTextEncoder(16), encoder_digest=ENCODER, preprocessing_digest=PREPROCESSING)
    shelf.activate("demo", shelf.publish(programme, head))
    return shelf


@pytest.fixture
def banks(shelf):
    return BanksInService(shelf, encoder=ENCODER, preprocessing=PREPROCESSING, metrics=Metrics())


def test_the_results_service_keeps_its_banks_while_their_share_is_away(shelf, monkeypatch, caplog):
    current = CurrentBanks(shelf, poll_s=1.0)
    current.look()

    def stale(self, _pattern):
        raise OSError(errno.ESTALE, "Stale file handle", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", stale)
        current.look()
    assert "Stale file handle" in caplog.text
    assert list(current()) == ["demo"]


def test_an_exam_is_decided_by_its_programme(banks):
    assert banks.decide("demo", "exam-1", []).outcome == "incomplete"
    assert banks.retention_s("demo") == Programme.builtin("demo").retention.results_days * 86_400


@pytest.mark.parametrize(
    "ask", [lambda banks: banks.decide("gone", "exam-1", []), lambda banks: banks.retention_s("gone")]
)
def test_an_exam_of_a_programme_that_left_service_says_what_to_do(banks, ask):
    with pytest.raises(Misconfigured, match=r"'gone'.*--activate"):
        ask(banks)
