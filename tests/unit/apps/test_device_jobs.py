"""What the device's program keeps in mind of a folder whose files stay."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from eyestream.apps.device_jobs import SpoolMemory, watch
from eyestream.device.database import DiskFull
from eyestream.device.pseudonym import SiteKey
from eyestream.device.spool import Spool

DAY = 86_400.0


class Watcher:
    """Watches nothing until it is stopped."""

    def __init__(self):
        self.stopped = threading.Event()

    def run(self):
        assert self.stopped.wait(60)

    def stop(self):
        self.stopped.set()


class Sender:
    """Asks once whether it is to end, as a sender does before it looks at what waits, and then has sent everything."""

    def __init__(self):
        self.sent = False

    def run(self, *, until):
        self.sent = not until()

    def stop(self):
        pass


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def spool(tmp_path, clock):
    with Spool(tmp_path / "spool.db", min_free_bytes=0, now=lambda: clock[0]) as spool:
        yield spool


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "camera").mkdir()
    return tmp_path / "camera"


@pytest.fixture
def memory(spool, folder):
    return SpoolMemory(spool, SiteKey(bytes(range(32))), folder)


def test_a_file_that_stays_is_known_for_as_long_as_it_stays(spool, folder, memory, clock):
    stays, goes = folder / "stays.jpg", folder / "goes.jpg"
    for path in (stays, goes):
        path.write_bytes(b"eye")
        memory.remember(path)
    for day in range(0, 900, 30):
        clock[0] = day * DAY
        assert memory.knows(stays)
        spool.prune(older_than_s=400 * DAY, still_there=memory.met())
    assert not memory.knows(goes)


def test_a_disk_too_full_to_be_tidied_does_not_keep_pictures_from_leaving_it(spool, monkeypatch, caplog):
    def full(**_options):
        raise DiskFull("make room")

    monkeypatch.setattr(spool, "prune", full)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    sender = Sender()
    try:
        watch(Watcher(), sender, spool, remember_s=400 * DAY)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert sender.sent
    assert [record.message for record in caplog.records] == ["cannot tidy the spool"]


def test_a_file_is_met_once_between_two_looks(folder, memory):
    path = folder / "eye.jpg"
    path.write_bytes(b"eye")
    assert not memory.knows(path)
    assert memory.met() == set()
    memory.remember(path)
    assert memory.knows(path)
    assert memory.knows(path)
    assert len(memory.met()) == 1
    assert memory.met() == set()


def test_a_file_whose_name_is_no_utf_8_is_remembered_like_any_other(folder, memory):
    path = folder / os.fsdecode(b"M\xfcller.jpg")
    path.write_bytes(b"eye")
    assert not memory.knows(path)
    memory.remember(path)
    assert memory.knows(path)
