"""`eyestream device` without Kafka: options, keys, the spool, exit codes, and no name where a log could keep it."""

from __future__ import annotations

import json
import signal
import threading

import pytest
from typer.testing import CliRunner

from eyestream.apps import device_options as options
from eyestream.apps.device import commands
from eyestream.device.lock import SpoolLock
from eyestream.device.pseudonym import create_key
from eyestream.device.spool import Spool
from eyestream.errors import Misconfigured


@pytest.fixture
def program(tmp_path):
    """Run a command with this test's key and spool; what went wrong is raised."""
    create_key(tmp_path / "site.key")

    def run(*arguments, stdin=None, code=0):
        paths = ["--spool", str(tmp_path / "spool.db")]
        if arguments[0] != "status":
            paths += ["--key", str(tmp_path / "site.key")]
        done = CliRunner().invoke(commands, [*arguments, *paths], input=stdin)
        if isinstance(done.exception, Exception):
            raise done.exception
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def eyes(tmp_path, jpeg_of):
    folder = tmp_path / "Lindqvist Annika"
    folder.mkdir()
    for seed, name in enumerate(("E1_R.jpg", "E1_L.jpg")):
        (folder / name).write_bytes(jpeg_of(seed))
    return folder


WHERE = ("--site", "north", "--device", "cam-1", "--programme", "demo")


def test_pictures_are_spooled_and_the_status_tells_so(program, eyes):
    done = program("send", str(eyes), "--no-wait", *WHERE)
    assert done.stdout == "2 files: 2 new pictures, 0 known already, 0 files refused\n"
    status = json.loads(program("status", "--json").stdout)
    assert (status["waiting"], status["sent"]) == (2, 0)
    assert "2 pictures" in program("status").stdout
    program("status", "--older-than-s", "3600")
    program("status", "--older-than-s", "0", code=1)


def test_a_refused_file_is_told_by_its_number_not_its_name(program, eyes):
    (eyes / "A.jpg").write_bytes(b"no picture")
    done = program("send", str(eyes), "--no-wait", *WHERE, code=1)
    assert "file 1 of 3: not-a-picture" in done.stderr.replace("\n", " ")
    assert "Lindqvist" not in done.output


def test_a_file_that_is_not_there_is_told_and_others_go_on(program, eyes):
    done = program("send", str(eyes / "none.jpg"), str(eyes), "--no-wait", *WHERE, code=1)
    assert "2 new pictures" in done.stdout
    assert "FileNotFoundError" in done.stderr


def test_the_patients_number_can_come_from_stdin(program, eyes, tmp_path):
    program("send", str(eyes), "--no-wait", "--exam", "E1", "--subject", "-", *WHERE, stdin="MRN-7788123\n")
    with Spool(tmp_path / "spool.db", min_free_bytes=0) as spool:
        (first,) = spool.waiting(limit=1, max_bytes=2**30)
    key = options.read_site_key(tmp_path / "site.key")
    assert first.meta.subject_id == key.subject("MRN-7788123", namespace="north")


def test_pictures_still_waiting_when_time_is_up_are_told(program, eyes):
    done = program("send", str(eyes), "--kafka", "127.0.0.1:1", "--timeout-s", "0.2", *WHERE, code=1)
    assert "2 pictures still wait, safe in the spool" in done.stderr


def test_another_process_that_sends_is_left_to_it(program, eyes, tmp_path):
    lock = SpoolLock(tmp_path / "spool.db")
    assert lock.take()

    def send_for_it():
        with Spool(tmp_path / "spool.db", min_free_bytes=0) as spool:
            while spool.depth().sent < 2:
                spool.mark_sent([each.meta.image_id for each in spool.waiting(limit=9, max_bytes=2**30)])

    other = threading.Thread(target=send_for_it)
    other.start()
    program("send", str(eyes), "--kafka", "127.0.0.1:1", "--timeout-s", "60", *WHERE)
    other.join()
    lock.give_back()


def test_two_watchers_of_one_spool_are_refused(program, eyes, tmp_path):
    lock = SpoolLock(tmp_path / "spool.db")
    assert lock.take()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Misconfigured, match="another process"):
        program("watch", str(eyes), *WHERE)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    lock.give_back()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (WHERE[2:], "--site"),
        (WHERE[:2] + WHERE[4:], "--device"),
        (WHERE[:4], "--programme"),
        (("--site", "North Clinic", *WHERE[2:]), "--site"),
        ((*WHERE, "--pattern", "{eye}"), "pattern"),
        ((*WHERE, "--exam", "Lindqvist Annika"), "exam_id"),
        ((*WHERE, "--kafka-option", "ssl"), "name=value"),
        ((*WHERE, "--kafka-secret", "sasl_plain_password=/none"), "sasl_plain_password"),
        ((*WHERE, "--store", "https://pictures.example"), "--store"),
    ],
)
def test_options_that_cannot_be_are_told(program, eyes, arguments, match):
    with pytest.raises(Misconfigured, match=match) as caught:
        program("send", str(eyes), "--no-wait", *arguments)
    assert "Lindqvist" not in str(caught.value)


def test_a_status_without_a_spool_says_so(program):
    with pytest.raises(Misconfigured, match="no spool"):
        program("status")


def test_a_key_is_made_once(tmp_path):
    path = str(tmp_path / "new.key")
    assert CliRunner().invoke(commands, ["keygen", "--key", path]).exit_code == 0
    assert isinstance(CliRunner().invoke(commands, ["keygen", "--key", path]).exception, Misconfigured)
    nowhere = CliRunner().invoke(commands, ["keygen", "--key", f"{path}/below"])
    assert isinstance(nowhere.exception, Misconfigured)
    assert "--key" in str(nowhere.exception)


def test_kafkas_options_have_their_types_and_secrets_come_from_files(tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    plain = ["security_protocol=SASL_SSL", "ssl_check_hostname=false", "retry_backoff_ms=50"]
    target = options.target("a:1,b:2", "topic", 2**20, plain, [f"sasl_plain_password={tmp_path}/secret"])
    assert target.security == {
        "security_protocol": "SASL_SSL",
        "ssl_check_hostname": False,
        "retry_backoff_ms": 50,
        "sasl_plain_password": "s3cret",
    }
    assert "s3cret" not in repr(target)


def test_a_picture_larger_than_the_topic_needs_a_store():
    assert options.largest_picture(2**20, None) < 2**20
    assert options.largest_picture(2**20, "/store") > 2**20
