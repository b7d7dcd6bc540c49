"""The watched folder: files are taken when whole, put aside when done, left alone when there is no room."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from eyestream.device.database import DiskFull
from eyestream.device.watcher import FolderWatcher, Habits
from eyestream.errors import Rejected

HABITS = Habits(settle_s=2.0, patience_s=15.0, rescan_s=10.0, retry_s=10.0)


class Camera:
    """A folder, a clock, and a taker that does what the test says."""

    def __init__(self, folder):
        self.folder, self.now, self.taken, self.refused, self.error = folder, 0.0, [], [], None

    def watcher(self, **options):
        options = {"habits": HABITS, "clock": lambda: self.now, "refused": self.refused.append} | options
        return FolderWatcher(self.folder, self.take, **options)

    def take(self, path):
        error = self.error(path) if callable(self.error) else self.error
        if error is not None:
            raise error
        self.taken.append(path.relative_to(self.folder).as_posix())

    def write(self, name, data=b"eye", *, changed=1_000):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (changed, changed))
        return path

    def wait(self, watcher, seconds):
        for _ in range(int(seconds)):
            watcher.scan()
            self.now += 1.0
        watcher.scan()

    def names(self):
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def camera(tmp_path):
    (tmp_path / "camera").mkdir()
    return Camera(tmp_path / "camera")


@pytest.fixture
def broken():
    return Rejected("truncated", "The JPEG ends before its picture does.", stage="device")


def test_a_file_is_taken_when_it_stopped_changing(camera):
    watcher = camera.watcher()
    camera.write("eye.jpg")
    watcher.scan()
    camera.now = 1.9
    watcher.scan()
    assert camera.taken == []
    camera.now = 2.0
    watcher.scan()
    assert camera.taken == ["eye.jpg"]
    assert camera.names() == ["sent/eye.jpg"]


def test_a_file_still_growing_is_left_alone(camera):
    watcher = camera.watcher()
    for second in range(10):
        camera.write("eye.jpg", b"x" * second, changed=1000 + second)
        watcher.scan()
        camera.now += 1.0
    assert camera.taken == []
    camera.wait(watcher, 2)
    assert camera.taken == ["eye.jpg"]


def test_older_files_come_first_and_folders_are_kept(camera):
    for name, changed in (("b.jpg", 30), ("exam/a.jpg", 10), ("exam/c.jpg", 20)):
        camera.write(name, changed=changed)
    camera.wait(camera.watcher(), 2)
    assert camera.taken == ["exam/a.jpg", "exam/c.jpg", "b.jpg"]
    assert camera.names() == ["sent/b.jpg", "sent/exam/a.jpg", "sent/exam/c.jpg"]


def test_what_is_no_picture_by_its_name_is_not_touched(camera):
    names = ["eye.jpg.part", ".hidden", "~lock.jpg", "Thumbs.db", "eye.json", ".git/eye.jpg", "a.TMP"]
    for name in names:
        camera.write(name)
    camera.wait(camera.watcher(), 30)
    assert camera.names() == sorted(names)
    assert camera.taken == []


def test_a_link_is_not_followed(camera, tmp_path):
    (tmp_path / "secret").write_bytes(b"not the camera's")
    (camera.folder / "eye.jpg").symlink_to(tmp_path / "secret")
    camera.wait(camera.watcher(), 5)
    assert camera.taken == []


def test_a_broken_file_is_given_time_and_then_put_aside_with_its_reason(camera, broken):
    camera.error = broken
    camera.write("exam/eye.jpg")
    watcher = camera.watcher()
    camera.wait(watcher, 14)
    assert camera.names() == ["exam/eye.jpg"]
    camera.wait(watcher, 2)
    assert camera.names() == ["refused/exam/eye.jpg", "refused/exam/eye.jpg.txt"]
    assert (camera.folder / "refused/exam/eye.jpg.txt").read_text() == f"truncated\n{broken.explanation}\n"
    assert camera.refused == ["truncated"]


def test_a_slow_copy_that_paused_is_taken_in_the_end(camera, broken):
    camera.error = lambda path: broken if path.read_bytes() == b"half" else None
    camera.write("eye.jpg", b"half")
    watcher = camera.watcher()
    camera.wait(watcher, 10)
    camera.write("eye.jpg", b"whole", changed=2000)
    camera.wait(watcher, 3)
    assert camera.names() == ["sent/eye.jpg"]


def test_a_broken_file_does_not_hold_others_up(camera, broken):
    camera.error = lambda path: broken if path.name == "bad.jpg" else None
    for name in ("a.jpg", "bad.jpg", "c.jpg"):
        camera.write(name)
    camera.wait(camera.watcher(), 3)
    assert camera.taken == ["a.jpg", "c.jpg"]


def test_without_room_files_stay_and_are_taken_later(camera):
    camera.error = DiskFull("make room")
    for name in ("a.jpg", "b.jpg"):
        camera.write(name)
    watcher = camera.watcher()
    camera.wait(watcher, 60)
    assert camera.names() == ["a.jpg", "b.jpg"]
    camera.error = None
    camera.wait(watcher, 11)
    assert camera.names() == ["sent/a.jpg", "sent/b.jpg"]


def test_without_room_the_folder_is_not_hammered(camera):
    tries = []

    def full(path):
        tries.append(path)
        return DiskFull("make room")

    camera.error = full
    for number in range(20):
        camera.write(f"{number}.jpg")
    camera.wait(camera.watcher(), 31)
    assert len(tries) == 3


def test_a_file_that_cannot_be_read_is_tried_again(camera):
    camera.error = PermissionError("still open elsewhere")
    camera.write("eye.jpg")
    watcher = camera.watcher()
    camera.wait(watcher, 3)
    camera.error = None
    camera.wait(watcher, 10)
    assert camera.names() == ["sent/eye.jpg"]


def test_a_folder_that_went_away_is_told_of_without_its_name_and_looked_into_when_it_is_back(camera, caplog):
    away = camera.folder.with_name("Lindqvist")
    camera.write("eye.jpg")
    watcher = camera.watcher()
    watcher.scan()
    camera.folder.rename(away)
    watcher.scan()
    assert [(record.message, record.reason) for record in caplog.records] == [
        ("cannot look into a folder", "FileNotFoundError")
    ]
    assert str(camera.folder) not in caplog.text
    away.rename(camera.folder)
    camera.wait(watcher, 3)
    assert camera.taken == ["eye.jpg"]


def test_a_fault_of_ours_is_not_swallowed(camera):
    camera.error = ZeroDivisionError()
    camera.write("eye.jpg")
    with pytest.raises(ZeroDivisionError):
        camera.wait(camera.watcher(), 3)
    assert camera.names() == ["eye.jpg"]


def test_nothing_is_written_over(camera):
    watcher = camera.watcher()
    for data in (b"first", b"second", b"third"):
        camera.write("eye.jpg", data)
        camera.wait(watcher, 2)
    assert camera.names() == ["sent/eye-2.jpg", "sent/eye-3.jpg", "sent/eye.jpg"]
    assert (camera.folder / "sent/eye.jpg").read_bytes() == b"first"


@pytest.mark.parametrize("refuse", [False, True], ids=["taken", "refused"])
def test_the_next_picture_under_a_name_is_not_put_aside_with_the_last(camera, broken, refuse):
    patients = iter([b"second patient"])
    taken = []

    def written_over(path):
        taken.append(path.read_bytes())
        for data in patients:  # the camera goes on while the first is being read
            camera.write("image_R.jpg", data, changed=2_000)
            return broken if refuse else None
        return None

    camera.error = written_over
    camera.write("image_R.jpg", b"first patient")
    watcher = camera.watcher(habits=Habits(patience_s=0.0))
    camera.wait(watcher, 2)
    assert camera.names() == ["image_R.jpg"]
    camera.wait(watcher, 3)
    assert taken == [b"first patient", b"second patient"]
    assert camera.names() == ["sent/image_R.jpg"]
    assert camera.refused == []


def test_a_file_changed_while_others_were_taken_settles_again(camera):
    taken = []

    def slow(path):
        taken.append((path.name, path.read_bytes()))
        if path.name == "a.jpg":
            camera.write("b.jpg", b"half of another", changed=2_000)

    camera.error = slow
    camera.write("a.jpg", changed=1)
    camera.write("b.jpg", b"whole", changed=2)
    watcher = camera.watcher()
    camera.wait(watcher, 2)
    assert [name for name, _ in taken] == ["a.jpg"]
    camera.write("b.jpg", b"all of another", changed=2_001)
    camera.wait(watcher, 3)
    assert taken[1:] == [("b.jpg", b"all of another")]


def test_a_sidecar_moves_with_its_picture(camera):
    camera.write("eye.jpg")
    camera.write("eye.jpg.json", b"{}")
    camera.wait(camera.watcher(), 2)
    assert camera.names() == ["sent/eye.jpg", "sent/eye.jpg.json"]


def test_a_sidecar_that_cannot_be_moved_keeps_its_picture_and_never_labels_the_next_of_that_name(camera, monkeypatch):
    camera.write("eye.jpg")
    sidecar = camera.write("eye.jpg.json", b'{"exam": "E1"}')
    move = Path.replace

    def locked(path, target):
        if path == sidecar:
            raise PermissionError(errno.EACCES, "another program has it open")
        return move(path, target)

    watcher = camera.watcher()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", locked)
        camera.wait(watcher, 5)
    assert camera.names() == ["eye.jpg", "eye.jpg.json"]
    camera.wait(watcher, 30)
    assert camera.names() == ["sent/eye.jpg", "sent/eye.jpg.json"]


def test_a_picture_that_cannot_be_moved_keeps_its_sidecar(camera, monkeypatch):
    picture = camera.write("eye.jpg")
    camera.write("eye.jpg.json", b'{"exam": "E1"}')
    move = Path.replace

    def locked(path, target):
        if path == picture:
            raise PermissionError(errno.EACCES, "another program has it open")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", locked)
    camera.wait(camera.watcher(), 5)
    assert camera.names() == ["eye.jpg", "eye.jpg.json"]


def test_a_picture_is_put_beside_no_sidecar_of_another(camera):
    camera.write("sent/eye.jpg.json", b'{"exam": "E1"}')
    camera.write("eye.jpg")
    camera.wait(camera.watcher(), 3)
    assert camera.names() == ["sent/eye-2.jpg", "sent/eye.jpg.json"]


@pytest.mark.parametrize("letter", ["a", "é", "眼"])
@pytest.mark.parametrize("refuse", [False, True])
def test_a_name_as_long_as_names_can_be_is_taken_and_put_aside(camera, broken, letter, refuse):
    room = 251 // len(letter.encode())
    names = [letter * room + ".jpg", letter * (room - 1) + "b.jpg"]
    for name in names:
        camera.write(name)
    camera.error = broken if refuse else None
    camera.wait(camera.watcher(), 30)
    aside = [Path(name) for name in camera.names()]
    assert [name.parent.name for name in aside] == ["refused" if refuse else "sent"] * (4 if refuse else 2)
    assert len([name for name in aside if name.suffix == ".jpg" and name.name.startswith(letter * 70)]) == 2


def test_a_name_with_no_room_for_a_sidecars_ends_no_watcher_that_waits_for_one(camera):
    camera.write("a" * 251 + ".jpg")
    camera.write("eye.jpg")
    camera.write("eye.jpg.json", b"{}")
    camera.wait(camera.watcher(habits=Habits(wait_for_sidecar=True)), 3)
    assert camera.taken == ["eye.jpg"]


def test_a_share_that_goes_away_while_it_is_looked_through_ends_nothing(camera):
    class Memory:
        def knows(self, path):
            raise OSError(errno.ESTALE, "stale file handle", str(path))

        def remember(self, path):
            raise AssertionError

    camera.write("eye.jpg")
    camera.wait(camera.watcher(memory=Memory()), 3)
    assert camera.taken == []


def test_a_picture_waits_for_its_sidecar_when_told_to(camera):
    watcher = camera.watcher(habits=Habits(wait_for_sidecar=True))
    camera.write("eye.jpg")
    camera.wait(watcher, 60)
    assert camera.taken == []
    camera.write("eye.jpg.json", b"{}")
    camera.wait(watcher, 3)
    assert camera.taken == ["eye.jpg"]


def test_files_that_must_stay_are_remembered(camera):
    class Memory:
        def __init__(self):
            self.files = set()

        def knows(self, path):
            return path in self.files

        def remember(self, path):
            self.files.add(path)

    memory = Memory()
    camera.write("eye.jpg")
    camera.wait(camera.watcher(memory=memory), 3)
    camera.wait(camera.watcher(memory=memory), 30)
    assert camera.taken == ["eye.jpg"]
    assert camera.names() == ["eye.jpg"]


def test_the_next_picture_under_a_name_is_not_remembered_as_the_last(camera):
    class Memory:
        def __init__(self):
            self.files = set()

        def knows(self, path):
            return path.read_bytes() in self.files

        def remember(self, path):
            self.files.add(path.read_bytes())

    taken = []

    def written_over(path):
        taken.append(path.read_bytes())
        if len(taken) == 1:
            camera.write("image_R.jpg", b"second patient", changed=2_000)

    camera.error = written_over
    camera.write("image_R.jpg", b"first patient")
    camera.wait(camera.watcher(memory=Memory()), 6)
    assert taken == [b"first patient", b"second patient"]


def test_a_file_that_goes_while_its_memory_looks_at_it_ends_nothing(camera):
    class Memory:
        def knows(self, path):
            path.unlink()
            path.stat()

    camera.write("Lindqvist.jpg")
    camera.wait(camera.watcher(memory=Memory()), 3)
    assert camera.taken == []


def test_a_memory_without_room_is_tried_again(camera):
    class Memory:
        def __init__(self):
            self.files, self.full = set(), True

        def knows(self, path):
            return path in self.files

        def remember(self, path):
            if self.full:
                raise DiskFull("make room")
            self.files.add(path)

    memory = Memory()
    watcher = camera.watcher(memory=memory)
    path = camera.write("eye.jpg")
    camera.wait(watcher, 3)
    memory.full = False
    camera.wait(watcher, 11)
    assert memory.files == {path}
    assert camera.taken == ["eye.jpg", "eye.jpg"]


def test_a_file_that_cannot_be_moved_is_taken_again_which_changes_nothing(camera):
    camera.write("eye.jpg")
    (camera.folder / "sent").write_bytes(b"in the way")
    watcher = camera.watcher()
    camera.wait(watcher, 3)
    (camera.folder / "sent").unlink()
    camera.wait(watcher, 11)
    assert camera.taken.count("eye.jpg") == 2
    assert camera.names() == ["sent/eye.jpg"]


def test_no_name_of_a_file_is_logged(camera, broken, caplog):
    caplog.set_level(logging.DEBUG)
    errors = iter([PermissionError("Lindqvist.jpg"), DiskFull("make room"), *[broken] * 9])
    camera.error = lambda _: next(errors)
    camera.write("Lindqvist.jpg")
    camera.wait(camera.watcher(), 60)
    assert camera.names()[0] == "refused/Lindqvist.jpg"
    assert len(caplog.records) == 3
    assert "Lindqvist" not in caplog.text


def test_a_scan_says_when_the_next_is_worth_it(camera):
    watcher = camera.watcher()
    assert watcher.scan() == HABITS.rescan_s
    camera.write("eye.jpg")
    assert watcher.scan() == HABITS.settle_s


def test_running_takes_files_as_they_come_and_ends_when_told(camera):
    taken = threading.Event()
    watcher = FolderWatcher(camera.folder, lambda _: taken.set(), habits=Habits(settle_s=0.05, rescan_s=0.2))
    thread = threading.Thread(target=watcher.run)
    thread.start()
    camera.write("eye.jpg")
    assert taken.wait(10)
    watcher.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert camera.names() == ["sent/eye.jpg"]
