"""A cache entry is there whole or not at all, and made once however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eyestream.apps.local import cache
from eyestream.errors import Misconfigured


def silent(line: str) -> None:
    pass


def test_an_entry_is_built_once(tmp_path: Path):
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "jar").write_text("bytes")

    first = cache.entry(tmp_path, "kafka-1", build, say=silent)
    second = cache.entry(tmp_path, "kafka-1", build, say=silent)
    assert first == second == tmp_path / "kafka-1"
    assert (first / "jar").read_text() == "bytes"
    assert len(built) == 1


def test_a_build_that_fails_leaves_nothing_and_is_tried_again(tmp_path: Path):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("offline")

    with pytest.raises(RuntimeError, match="offline"):
        cache.entry(tmp_path, "kafka-1", fail, say=silent)
    assert not (tmp_path / "kafka-1").exists()
    entry = cache.entry(tmp_path, "kafka-1", lambda folder: (folder / "whole").touch(), say=silent)
    assert [file.name for file in entry.iterdir()] == ["whole"]


def test_what_a_killed_build_left_is_not_taken_over(tmp_path: Path):
    (tmp_path / "kafka-1.building").mkdir()
    (tmp_path / "kafka-1.building" / "half").touch()
    entry = cache.entry(tmp_path, "kafka-1", lambda folder: (folder / "whole").touch(), say=silent)
    assert [file.name for file in entry.iterdir()] == ["whole"]


def test_two_checkouts_at_once_build_it_once_and_the_second_is_told_why_it_waits(tmp_path: Path):
    waits, builds, may_finish = [], [], threading.Event()

    def build(folder: Path) -> None:
        builds.append(folder)
        may_finish.wait(10)

    def say(line: str) -> None:
        waits.append(line)
        may_finish.set()

    with ThreadPoolExecutor(2) as checkouts:
        entries = list(checkouts.map(lambda _: cache.entry(tmp_path, "kafka-1", build, say=say), range(2)))
    assert entries[0] == entries[1]
    assert len(builds) == 1
    assert waits == ["waiting for another checkout that is preparing it"]


def test_the_desktops_rule_for_caches_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_cache() == tmp_path / "eyestream"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.default_cache() == Path.home() / ".cache" / "eyestream"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"file/cache .*--state.*XDG_CACHE_HOME"):
        cache.entry(tmp_path / "file" / "cache", "kafka-1", lambda _: None, say=silent)
