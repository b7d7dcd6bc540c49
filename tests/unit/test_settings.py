from __future__ import annotations

import pytest

from eyestream import settings
from eyestream.errors import Misconfigured


@pytest.fixture
def toml(tmp_path):
    def write(text: str):
        file = tmp_path / "eyestream.toml"
        file.write_text(text)
        return file

    return write


def test_without_file_and_environment_the_defaults_hold():
    assert settings.load().kafka.topic == "screening.images"


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(toml, monkeypatch):
    file = toml('[kafka]\ntopic = "from.file"\ngroup = "from-file"\n')
    monkeypatch.setenv("EYESTREAM_KAFKA__TOPIC", "from.environment")
    loaded = settings.load(file)
    assert (loaded.kafka.topic, loaded.kafka.group) == ("from.environment", "from-file")
    assert loaded.kafka.bootstrap == settings.Kafka().bootstrap


def test_the_file_can_be_named_in_the_environment(toml, monkeypatch):
    monkeypatch.setenv("EYESTREAM_SETTINGS", str(toml("[line]\nmax_batch = 3\n")))
    assert settings.load().line.max_batch == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[kafka]\ntopik = 'x'\n", "kafka.topik"),
        ("[kafak]\ntopic = 'x'\n", "kafak"),
        ("[line]\nmax_batch = 0\n", "line.max_batch"),
        ("[line\n", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_named(toml, text, told):
    with pytest.raises(Misconfigured, match=told):
        settings.load(toml(text))


@pytest.mark.parametrize("variable", ["EYESTREAM_BACTH__MAX_SIZE", "EYESTREAM_KAFKA__TOPIK", "EYESTREAM_PORT"])
def test_a_variable_that_nothing_reads_is_refused(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(Misconfigured, match=f"(?i){variable.removeprefix('EYESTREAM_').split('__')[-1]}"):
        settings.load()


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="no settings file"):
        settings.load(tmp_path / "none.toml")


def test_the_password_in_the_redis_url_is_not_printed(monkeypatch):
    monkeypatch.setenv("EYESTREAM_REDIS__URL", "redis://:sesame@localhost:6379/0")
    loaded = settings.load()
    assert "sesame" not in repr(loaded)
    assert loaded.redis.url.get_secret_value().startswith("redis://:sesame@")
