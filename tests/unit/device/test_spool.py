"""The spool: on the disk before it says so, there once, gone only when sent, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import pickle
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from eyestream import telemetry
from eyestream.device.database import Database, DiskFull
from eyestream.device.intake import image_id
from eyestream.device.lock import SpoolLock
from eyestream.device.spool import Spool
from eyestream.errors import Misconfigured, Unavailable
from eyestream.records import ImageMeta

TAKEN = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


def body(number, size=2000):
    return random.Random(number).randbytes(size)


def meta_of(number, *, exam=None, data=None):
    exam = exam or f"exam-{number}"
    sha256 = hashlib.sha256(body(number) if data is None else data).hexdigest()
    return ImageMeta(
        image_id=image_id(exam, sha256, 0),
        exam_id=exam,
        subject_id="a" * 32,
        site_id="north",
        device_id="cam-1",
        captured_at=TAKEN,
        programme="demo",
        sha256=sha256,
    )


def put(spool, number, **options):
    return spool.put(meta_of(number, **options), body(number), content_type="image/jpeg")


def everything(spool):
    return spool.waiting(limit=1000, max_bytes=2**30)


def test_a_picture_put_is_the_picture_that_waits(spool):
    assert put(spool, 1)
    (picture,) = everything(spool)
    assert picture.meta == meta_of(1)
    assert (picture.data, picture.content_type, picture.attempts) == (body(1), "image/jpeg", 0)
    assert telemetry.TRACEPARENT.match(picture.traceparent)


def test_the_same_picture_twice_is_there_once(spool):
    assert put(spool, 1)
    (before,) = everything(spool)
    assert not put(spool, 1)
    (after,) = everything(spool)
    assert after.traceparent == before.traceparent


def test_a_picture_that_was_sent_is_not_sent_again(spool):
    put(spool, 1)
    spool.mark_sent([meta_of(1).image_id])
    assert not put(spool, 1)
    assert everything(spool) == []


def test_marking_twice_changes_nothing(spool):
    put(spool, 1)
    spool.mark_sent([meta_of(1).image_id] * 2)
    spool.mark_sent([meta_of(1).image_id])
    assert spool.depth().sent == 1


def test_pictures_wait_in_the_order_they_came(spool):
    for number in (3, 1, 2):
        put(spool, number)
    assert [picture.meta.exam_id for picture in everything(spool)] == ["exam-3", "exam-1", "exam-2"]


def test_of_an_exam_only_the_oldest_may_go(spool):
    for number, exam in ((1, "a"), (2, "a"), (3, "b")):
        put(spool, number, exam=exam)
    assert [picture.data for picture in everything(spool)] == [body(1), body(3)]
    spool.mark_sent([meta_of(1, exam="a").image_id])
    assert [picture.data for picture in everything(spool)] == [body(2), body(3)]


def test_exams_under_way_are_left_out(spool):
    for number in (1, 2):
        put(spool, number)
    waiting = spool.waiting(limit=9, max_bytes=2**30, without_exams={"exam-1"})
    assert [picture.meta.exam_id for picture in waiting] == ["exam-2"]


def test_no_more_than_asked_for_is_read(spool):
    for number in range(5):
        put(spool, number)
    assert len(spool.waiting(limit=3, max_bytes=2**30)) == 3
    assert len(spool.waiting(limit=9, max_bytes=4100)) == 2
    assert len(spool.waiting(limit=9, max_bytes=1)) == 1, "one picture must go whatever it weighs"


def test_it_is_all_there_after_opening_again(tmp_path):
    with Spool(tmp_path / "spool.db", min_free_bytes=0) as first:
        put(first, 1)
        put(first, 2)
        first.mark_sent([meta_of(1).image_id])
    with Spool(tmp_path / "spool.db", min_free_bytes=0) as second:
        assert [picture.data for picture in everything(second)] == [body(2)]
        assert not put(second, 1)


def test_failures_are_counted_by_their_name(spool):
    for number in (1, 2):
        put(spool, number)
    spool.mark_failed(meta_of(1).image_id, "kafka-away")
    spool.mark_failed(meta_of(1).image_id, "object-store-away")
    assert everything(spool)[0].attempts == 2
    assert spool.depth().troubled == {"object-store-away": 1}


def test_the_depth_tells_how_it_stands(tmp_path):
    clock = [1000.0]
    with Spool(tmp_path / "spool.db", min_free_bytes=0, now=lambda: clock[0]) as spool:
        put(spool, 1)
        clock[0] = 1060.0
        put(spool, 2)
        put(spool, 3)
        spool.mark_sent([meta_of(3).image_id])
        spool.count_refused("truncated")
        spool.count_refused("truncated")
        depth = spool.depth()
        assert (depth.waiting, depth.waiting_bytes, depth.oldest_s, depth.sent) == (2, 4000, 60.0, 1)
        assert depth.refused == {"truncated": 2}
        assert spool.still_waiting([meta_of(number).image_id for number in (1, 3, 3)]) == 1


def test_a_full_spool_takes_nothing_and_loses_nothing(tmp_path):
    with Spool(tmp_path / "spool.db", max_bytes=5000, min_free_bytes=0) as spool:
        assert put(spool, 1)
        assert put(spool, 2)
        with pytest.raises(DiskFull, match="is Kafka reachable"):
            put(spool, 3)
        assert [picture.data for picture in everything(spool)] == [body(1), body(2)]
        assert not put(spool, 2), "a picture that is known needs no room"
        spool.mark_sent([meta_of(1).image_id])
        assert put(spool, 3)


def test_a_disk_nearly_full_is_left_alone(tmp_path):
    with Spool(tmp_path / "spool.db", min_free_bytes=2**62) as spool, pytest.raises(DiskFull, match="make room"):
        put(spool, 1)


def test_a_file_that_cannot_grow_takes_nothing_and_can_be_emptied(tmp_path):
    # The wall of SQLite itself, as when the disk is full: small pictures weigh more than their bytes.
    with Spool(tmp_path / "spool.db", max_bytes=2**20, min_free_bytes=0) as spool:
        large = body(1, 950_000)
        spool.put(meta_of(1, data=large), large, content_type="image/png")
        kept = []

        def fill():
            for number in range(2, 500):
                spool.put(meta_of(number, data=b"x"), b"x", content_type="image/png")
                kept.append(meta_of(number, data=b"x").image_id)

        with pytest.raises(DiskFull, match="disk is full"):
            fill()
        assert 1 < len(kept) < 400
        assert spool.depth().waiting == len(kept) + 1
        spool.mark_sent(kept)
        assert [picture.data for picture in everything(spool)] == [large]
        assert spool.put(meta_of(5000, data=b"x"), b"x", content_type="image/png")


def test_sent_pictures_leave_their_space_to_others(tmp_path):
    with Spool(tmp_path / "spool.db", min_free_bytes=0) as spool:
        for number in range(40):
            data = body(number, 100_000)
            spool.put(meta_of(number, data=data), data, content_type="image/jpeg")
            spool.mark_sent([meta_of(number, data=data).image_id])
    assert (tmp_path / "spool.db").stat().st_size < 1_000_000


def test_pruning_forgets_only_what_is_old_and_done(tmp_path):
    clock = [0.0]
    with Spool(tmp_path / "spool.db", min_free_bytes=0, now=lambda: clock[0]) as spool:
        for number in (1, 2, 3):
            put(spool, number)
        spool.mark_sent([meta_of(1).image_id])
        spool.remember_file("old")
        clock[0] = 100.0
        spool.mark_sent([meta_of(2).image_id])
        spool.remember_file("new")
        assert spool.prune(older_than_s=50.0) == 1
        assert not put(spool, 2)
        assert put(spool, 1)
        assert spool.still_waiting([meta_of(3).image_id]) == 1
        assert (spool.remembers_file("old"), spool.remembers_file("new")) == (False, True)


def test_a_file_that_is_still_there_is_remembered_anew(tmp_path):
    clock = [0.0]
    with Spool(tmp_path / "spool.db", min_free_bytes=0, now=lambda: clock[0]) as spool:
        for name in ("there", "gone"):
            spool.remember_file(name)
        for clock[0] in (30.0, 60.0, 90.0):
            spool.prune(older_than_s=50.0, still_there=["there", "never seen"])
        assert [spool.remembers_file(name) for name in ("there", "gone", "never seen")] == [True, False, False]


def test_the_file_is_its_owners_alone(tmp_path):
    with Spool(tmp_path / "spool.db"):
        assert stat.S_IMODE((tmp_path / "spool.db").stat().st_mode) == 0o600


def test_a_damaged_file_is_not_written_over(tmp_path):
    (tmp_path / "spool.db").write_bytes(b"Annika" * 1000)
    with pytest.raises(Misconfigured, match="damaged"):
        Spool(tmp_path / "spool.db")
    assert (tmp_path / "spool.db").read_bytes() == b"Annika" * 1000


def test_the_spool_of_another_release_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "spool.db") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(Misconfigured, match="another release"):
        Spool(tmp_path / "spool.db")


def test_a_disk_that_is_not_there_is_waited_for(tmp_path):
    (tmp_path / "disk").write_bytes(b"")
    with pytest.raises(Unavailable, match="spool"):
        Spool(tmp_path / "disk" / "spool.db")


def test_a_full_disk_travels_between_processes():
    copy = pickle.loads(pickle.dumps(DiskFull("make room")))
    assert (str(copy), copy.part) == ("spool is unavailable: make room", "spool")


def test_a_failed_transaction_leaves_nothing(tmp_path):
    database = Database(tmp_path / "file.db", schema="CREATE TABLE t (x)", layout=1, max_bytes=2**20)

    def fail_half_way():
        with database.writing() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    with database.reading() as connection:
        assert connection.execute("SELECT COUNT(*) FROM t").fetchone() == (0,)
    database.close()
    database.close()


def test_threads_share_a_spool(spool):
    def write(start):
        for number in range(start, start + 20):
            put(spool, number % 50)

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spool.depth().waiting == 50


def test_one_process_at_a_time_sends(tmp_path):
    first, second = SpoolLock(tmp_path / "spool.db"), SpoolLock(tmp_path / "spool.db")
    assert first.take()
    assert first.take()
    assert not second.take()
    first.give_back()
    first.give_back()
    assert second.take()
    second.give_back()


WRITER = """
import datetime, hashlib, pathlib, random, sys
from eyestream.device.spool import Spool
from eyestream.records import ImageMeta
spool = Spool(pathlib.Path(sys.argv[1]), min_free_bytes=0)
print("ready", flush=True)
for number in range(40):
    data = random.Random(number).randbytes(30_000)
    sha256 = hashlib.sha256(data).hexdigest()
    exam = f"exam-{number // 3}"
    meta = ImageMeta(image_id=sha256[:40], exam_id=exam, subject_id="a" * 32, site_id="north",
                     device_id="cam-1", captured_at=datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC),
                     programme="demo", sha256=sha256)
    spool.put(meta, data, content_type="image/jpeg")
    if number % 2:
        spool.mark_sent([meta.image_id])
    print(meta.image_id, number % 2, flush=True)
"""


def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path):
    path, draw = tmp_path / "spool.db", random.Random(7)
    said: dict[str, bool] = {}
    killed = 0
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "ready\n"
        lines = draw.randrange(1, 30) if attempt < 4 else 100
        for line, _ in zip(writer.stdout, range(lines), strict=False):
            image, sent = line.split()
            said[image] = said.get(image, False) or sent == "1"
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            if line.endswith("\n"):
                image, sent = line.split()
                said[image] = said.get(image, False) or sent == "1"
        writer.stdout.close()
        killed += writer.wait() == -signal.SIGKILL
        waiting = _every_picture(path)
        ids = {meta.image_id for meta, _ in waiting}
        assert len(ids) == len(waiting)
        assert {image for image, sent in said.items() if not sent} <= ids
        assert not {image for image, sent in said.items() if sent} & ids
        for meta, data in waiting:
            assert hashlib.sha256(data).hexdigest() == meta.sha256
    assert killed >= 4
    assert len(said) == 40


def _every_picture(path):
    """(meta, data) of all that waits, read past the spool; each picture has its bytes and each bytes a picture."""
    with contextlib.closing(sqlite3.connect(path)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = plain.execute("SELECT meta, data FROM pictures JOIN bodies USING (sequence)").fetchall()
        for table in ("pictures", "bodies"):
            assert plain.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (len(rows),)
    return [(ImageMeta.model_validate_json(meta), data) for meta, data in rows]


def test_a_spool_that_can_be_nowhere_is_told_with_its_place(tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(Unavailable, match=r"spool is unavailable: .*/file"):
        Spool(tmp_path / "file" / "below" / "spool.db")
