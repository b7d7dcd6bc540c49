"""One encoder from its weights to its rows, on the processor: every step but NVIDIA's own."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time

import psutil
import pytest
from typer.testing import CliRunner

from eyestream_engines.cli import app
from eyestream_engines.compilers import tensorrt
from eyestream_engines.gpu import commands, machine, measuring, records
from eyestream_engines.gpu.measuring import Task, batches_of, compiler_of, identity_of, machine_of
from eyestream_engines.gpu.records import Record
from eyestream_engines.gpu.subjects import chosen, every
from eyestream_engines.gpu.timing import Effort

SMALL = "octcube-toy"
BRIEF = Effort(warm_s=0.0, rounds=3, spell_s=0.01)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    return Task(SMALL, folder, gpu=False, effort=BRIEF, batches=(1, 2), squares=(32,), compiled=False)


@pytest.fixture(scope="module")
def measured(task):
    """The smallest case in a process of its own, through the real Triton."""
    steps = []
    record = measuring.measure(task, told=steps.append)
    assert "timing 2 at a time" in steps
    return record


@pytest.fixture
def kept(task, measured):
    """The record's file, put back where a test measured anew."""
    path = records.path_of(task.folder, measured.machine, SMALL)
    text = path.read_text()
    yield path
    path.write_text(text)


def test_an_encoder_is_built_held_and_timed_beside_its_products_the_ceiling_and_triton(measured):
    assert not measured.failed
    assert measured.held
    assert [row.batch for row in measured.rows] == [1, 2]
    for row in measured.rows:
        assert row.notes == ()
        assert [reading.gate.partition(",")[0] for reading in row.readings] == ["engine", "Triton"]
        assert all(ratio > 0 for ratio in (row.of_ceiling, row.of_products, row.of_engine))
    assert [reading.gate for reading in measured.readings] == ["graph in FP32", "FP16, rounded as a GPU does"]
    assert measured.bytes > 100_000


def test_what_was_measured_is_kept_and_not_measured_again(task, measured, monkeypatch):
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: pytest.fail("measured again"))
    assert commands._kept(task) == measured  # noqa: SLF001


def test_what_was_measured_of_other_code_or_given_up_is_measured_again(task, measured, kept):
    dataclasses.replace(measured, identity="another").save(task.folder)
    assert commands._kept(task) is None  # noqa: SLF001
    dataclasses.replace(measured, failed="out of memory").save(task.folder)
    assert commands._kept(task) is None  # noqa: SLF001


def test_a_process_that_dies_leaves_its_rows_and_says_how_it_ended(task, measured, kept, monkeypatch, tmp_path):
    partial = dataclasses.replace(measured, identity="", rows=measured.rows[:1])
    partial.save(tmp_path)
    text = records.path_of(tmp_path, measured.machine, SMALL).read_text()
    killed = tmp_path / "killed"
    killed.write_text(f"#!/bin/sh\ncat > {kept} <<'END'\n{text}END\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr(measuring.sys, "executable", str(killed))
    found = measuring.measure(task)
    assert found.rows == measured.rows[:1]
    assert f"signal {signal.SIGKILL.value}: perhaps it needs more memory" in found.failed
    assert not found.held
    assert records.kept(kept) == found


def test_a_process_that_dies_at_once_leaves_nothing_of_the_last_time(task, kept, monkeypatch):
    monkeypatch.setattr(measuring.sys, "executable", "/bin/false")
    found = measuring.measure(task)
    assert found.rows == ()
    assert "status 1" in found.failed


def test_nothing_that_a_dying_process_started_goes_on_holding_the_gpu(task, kept, monkeypatch, tmp_path):
    started, dying = tmp_path / "started", tmp_path / "dying"
    dying.write_text(f"#!/bin/sh\nsleep 600 >/dev/null 2>&1 &\necho $! > {started}\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(measuring.sys, "executable", str(dying))
    measuring.measure(task)
    assert gone(int(started.read_text()))


def gone(number, *, within_s=60.0):
    """Whether the process ends; one that nobody waits for may lie there dead."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False


def test_whoever_ends_the_measuring_ends_its_process(task, kept, monkeypatch, tmp_path):
    started, long = tmp_path / "started", tmp_path / "long"
    long.write_text(f"#!/bin/sh\necho $$ > {started}\necho begun\nexec sleep 600\n")
    long.chmod(0o755)
    monkeypatch.setattr(measuring.sys, "executable", str(long))

    def told(_line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measuring.measure(task, told=told)
    assert gone(int(started.read_text()))


def test_an_encoder_that_cannot_be_built_is_a_record_that_says_so(task, tmp_path, monkeypatch):
    from eyestream.errors import Misconfigured

    def refuse(*_, **__):
        raise Misconfigured("the compiler refused the graph")

    monkeypatch.setattr(measuring, "make", refuse)
    found = measuring.measure_here(dataclasses.replace(task, folder=tmp_path), told=lambda *_: None)
    assert found.failed == "the compiler refused the graph"
    assert not found.held


def test_the_next_encoder_is_measured_whatever_became_of_the_last(tmp_path, monkeypatch):
    here = machine_of(compiler_of(Task(SMALL, tmp_path, gpu=False)))
    asked = []

    def measure(task, **_):
        asked.append(task.encoder)
        record = Record(task.encoder, here, "2026-11-26", "same", failed="its process ended with status 1")
        record.save(task.folder)
        return record

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(machine, "lacking", lambda: "")
    monkeypatch.setattr(commands, "_kept", lambda _task: None)
    page = tmp_path / "gpu.md"
    names = ["octcube-toy", "octcube-ir-toy"]
    done = CliRunner().invoke(app, ["gpu", *names, "--measured", str(tmp_path), "--page", str(page)])
    assert asked == names
    assert done.exit_code == 1
    assert "2 encoders, 0 held, 0 timed, 2 failed" in done.stdout.splitlines()[-1]
    assert page.read_text().count("was given up") == 2


def test_what_time_did_not_suffice_for_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "lacking", lambda: "")
    monkeypatch.setattr(commands, "_kept", lambda _task: None)
    done = CliRunner().invoke(app, ["gpu", SMALL, "--minutes", "0", "--measured", str(tmp_path)])
    assert "1 encoders were NOT RUN" in done.stdout


def test_a_task_is_handed_to_its_process_whole(tmp_path):
    task = Task("flair", tmp_path, triton=tmp_path / "tritonserver", effort=BRIEF, batches=(1, 3), squares=(64,))
    assert Task.from_json(task.to_json()) == task


def test_sizes_are_one_a_quarter_half_and_all(tiny):
    most = tiny.model_copy(update={"serving": tiny.serving.model_copy(update={"max_batch": 32})})
    assert batches_of(most) == [1, 8, 16, 32]
    assert batches_of(tiny) == [1, 2, 4]


def test_figures_depend_on_the_weights(task):
    (subject,) = chosen([SMALL])
    other = dataclasses.replace(subject, case=dataclasses.replace(subject.case, seed=1))
    assert identity_of(subject, compiler_of(task)) != identity_of(other, compiler_of(task))


def test_every_family_and_the_encoder_of_the_repository_are_subjects():
    found = {subject.encoder.name: subject for subject in every()}
    assert found["eyestream-demo"].case is None
    assert {subject.encoder.architecture.family for subject in found.values()} >= {"vit", "flair", "octcube", "demo"}


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("23034 MiB, 580.1, 72.00 W, 2040 MHz\n", ("23034 MiB", "580.1", "72.00 W", "2040 MHz")),
        ("an error of another form\n", ("unknown",) * 4),
    ],
)
def test_the_gpus_facts_are_what_nvidia_smi_prints(printed, told, tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho '{printed.strip()}'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    here = machine.here("tensorrt", "11.4.0", gpu="NVIDIA L4", compute="8.9")
    assert (here.memory, here.driver, here.power_limit, here.highest_clock) == told
    assert here.slug == "nvidia-l4"


def test_torch_without_the_gpu_is_said(monkeypatch):
    import torch

    monkeypatch.setattr(tensorrt, "gpu", lambda: ("a GPU", "9.0"))
    monkeypatch.setattr(tensorrt, "installed", lambda _name: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cannot use the GPU" in machine.lacking()
