from __future__ import annotations

import os
from pathlib import Path

import pytest

from eyestream import durable


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "pointer.json"
    durable.write(file, b"before")
    durable.write(file, b"after")
    assert file.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "pointer.json"
    durable.write(file, b"before")
    with pytest.raises(TypeError):
        durable.write(file, "no bytes")
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_stays_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        durable.write(tmp_path / str(number), b"content")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """A disk may be meant to be mounted in its place."""
    with pytest.raises(FileNotFoundError):
        durable.write(tmp_path / "disk" / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_the_disk_before_the_name_is_and_the_name_and_its_folder_before_it_returns(
    tmp_path, monkeypatch
):
    synced, sizes, sync = [], [], os.fsync

    def noted(handle):
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((path, (tmp_path / "new" / "file").exists()))
        sizes.append(os.fstat(handle).st_size)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    (tmp_path / "new").mkdir()
    durable.write(tmp_path / "new" / "file", b"content")
    [(part, named), *folders] = synced
    assert part.parent == tmp_path / "new"
    assert not named
    assert sizes[0] == len(b"content")
    assert folders == [(tmp_path / "new", True), (tmp_path, True)]


def test_a_folder_in_one_that_only_root_may_read_is_written_to(tmp_path, monkeypatch):
    """As systemd's /var/lib/private is for a service with a user of its own."""
    opened = os.open

    def closed(path, *args, **more):
        if Path(path) == tmp_path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **more)

    (tmp_path / "state").mkdir()
    monkeypatch.setattr(os, "open", closed)
    durable.write(tmp_path / "state" / "file", b"content")
    assert (tmp_path / "state" / "file").read_bytes() == b"content"
    with pytest.raises(PermissionError):
        durable.write(tmp_path / "file", b"content")
