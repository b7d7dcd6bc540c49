"""What `helm test` says of a Kafka that does not let it in: a sentence that tells what to mend."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from eyestream.apps import kafka, screening, smoke
from eyestream.errors import Misconfigured, Unavailable
from eyestream.settings import Settings


@pytest.fixture
def nobody():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch):
    """Asks for half a second, not for the start's 30."""
    patient = kafka.kafka_options

    def options(settings):
        return dataclasses.replace(patient(settings), start_timeout_s=0.5)

    monkeypatch.setattr(kafka, "kafka_options", options)
    monkeypatch.setattr(smoke, "kafka_options", options)


def settings(**kafka_settings):
    return Settings.model_validate(
        {
            "kafka": kafka_settings,
            "triton": {"address": "127.0.0.1:1", "model": "flair"},
            "redis": {"url": "redis://127.0.0.1:1/0"},
            "banks": {"shelf": "/banks"},
            "serve": {"max_replicas": 3},
        }
    )


@pytest.mark.parametrize("ask", [smoke.check_kafka, screening.partitions])
def test_a_kafka_that_is_away_is_said_to_be_away(nobody, impatient, ask):
    with pytest.raises(Unavailable, match=f"none of {nobody} takes a connection"):
        ask(settings(bootstrap=nobody))


@pytest.mark.parametrize("ask", [smoke.check_kafka, screening.partitions])
def test_a_secret_that_is_not_mounted_is_told_by_its_option_and_file(nobody, impatient, tmp_path, ask):
    file = tmp_path / "password"
    secret = {"sasl_plain_password": str(file)}
    with pytest.raises(Misconfigured, match=f"sasl_plain_password: {file} cannot be read: FileNotFoundError"):
        ask(settings(bootstrap=nobody, security_files=secret))


def test_options_that_would_send_a_password_nowhere_are_refused(nobody, impatient):
    with pytest.raises(Misconfigured, match="does not use sasl_plain_username"):
        smoke.check_kafka(settings(bootstrap=nobody, security={"sasl_plain_username": "line"}))
