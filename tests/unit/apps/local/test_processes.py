"""A process is ours only when its id, its start and this boot say so, and then all it started ends with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eyestream.apps.local import processes
from eyestream.apps.local.base import Command

SLEEP = ["/bin/sleep", "300"]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    record = tmp_path / "run" / "part" / "process"
    yield record
    processes.stop(record, within_s=0)


def start(record: Path, argv: list[str], **environment: str) -> processes.Running:
    processes.spawn(Command(argv, environment), record=record, log=record.with_name("log"))
    assert processes.wait_recorded(record, 10)
    running = processes.running(record)
    assert running is not None
    return running


def wait_for(line: str, record: Path) -> None:
    log = record.with_name("log")
    while line not in log.read_text():
        os.sched_yield()


def test_a_started_process_is_recognised_and_leads_its_own_session(record: Path):
    running = start(record, SLEEP)
    assert os.getsid(running.pid) == running.pid != os.getsid(0)


def test_it_inherits_our_environment_and_its_own_additions(record: Path):
    start(record, ["/bin/sh", "-c", 'echo "$PATH $COLOUR"; exec sleep 300'], COLOUR="blue")
    wait_for("blue", record)
    assert record.with_name("log").read_text() == f"{os.environ['PATH']} blue\n"  # noqa: TID251


def test_a_killed_process_is_gone_at_once_even_for_its_parent(record: Path):
    start(record, SLEEP)
    assert processes.send(record, signal.SIGKILL)
    assert processes.wait_ended(record, 10)
    assert processes.running(record) is None
    assert not processes.send(record, signal.SIGKILL)


def test_another_process_under_a_recorded_id_is_not_ours(record: Path, tmp_path: Path):
    stranger = tmp_path / "run" / "stranger" / "process"
    pid = start(stranger, SLEEP).pid
    text = stranger.read_text()
    started = text.rsplit(")", 1)[1].split()[19]
    record.parent.mkdir(parents=True)
    record.write_text(text.replace(f" {started} ", f" {int(started) - 1} "))
    try:
        assert processes.running(record) is None
        assert processes.members(record) == ()
        assert processes.stop(record, within_s=1)
        assert processes.running(stranger) == processes.Running(pid, int(started))
    finally:
        processes.stop(stranger, within_s=0)


def test_a_record_of_an_earlier_boot_is_nobodys(record: Path):
    pid = start(record, SLEEP).pid
    text = record.read_text()
    stat, boot = text.rsplit("\n", 2)[0], text.split("\n")[1]
    record.write_text(f"{stat}\n{boot[::-1]}\n")
    assert processes.running(record) is None
    record.write_text(text)
    assert processes.running(record).pid == pid


@pytest.mark.parametrize("text", ["", "12", "not a record", "1 (x"])
def test_a_damaged_record_is_nobodys(record: Path, text: str):
    record.parent.mkdir(parents=True)
    record.write_text(text)
    assert processes.running(record) is None
    assert processes.members(record) == ()
    assert processes.stop(record, within_s=1)


def test_children_of_a_killed_process_are_found_and_ended(record: Path):
    leader = start(record, ["/bin/sh", "-c", "sleep 300 & sleep 300 & echo both; wait"])
    wait_for("both", record)
    assert len(processes.members(record)) == 3
    processes.send(record, signal.SIGKILL)
    assert processes.wait_ended(record, 10)
    orphans = processes.members(record)
    assert len(orphans) == 2
    assert leader.pid not in orphans
    processes.stop(record, within_s=0)
    assert processes.members(record) == ()
    assert not any(Path(f"/proc/{orphan}/cmdline").exists() and is_sleep(orphan) for orphan in orphans)


def is_sleep(pid: int) -> bool:
    return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_an_orderly_end_is_told_from_a_forced_one(record: Path):
    start(record, SLEEP)
    assert processes.stop(record, within_s=10)
    start(record, ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"])
    wait_for("deaf", record)
    assert not processes.stop(record, within_s=0.2)
    assert processes.running(record) is None
    assert not record.exists()


def test_a_halted_process_ends_in_an_orderly_way_too(record: Path):
    start(record, SLEEP)
    processes.send(record, signal.SIGSTOP)
    assert processes.stop(record, within_s=10)


def test_sigterm_ends_a_program_as_ctrl_c_does_and_only_meanwhile():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), processes.ending_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_stopping_what_was_never_started_does_nothing(record: Path):
    assert processes.stop(record, within_s=1)


def test_a_program_that_does_not_exist_ends_with_a_line_in_its_log(record: Path):
    processes.spawn(Command(["/no/such/program"]), record=record, log=record.with_name("log"))
    assert processes.wait_recorded(record, 10)
    assert processes.wait_ended(record, 10)
    assert "/no/such/program" in record.with_name("log").read_text()
