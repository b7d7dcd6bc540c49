"""The report: what is measured is kept, held against the bounds of today, and what was not run is said."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from eyestream.errors import Misconfigured
from eyestream_engines.cases import PARITY, Case
from eyestream_engines.cli import app
from eyestream_engines.gates import Reading
from eyestream_engines.reporting import code, measuring, records, running
from eyestream_engines.reporting.page import FP16, GRAPH, State, broken, page, summary
from eyestream_engines.reporting.records import Plan, Record, Row, identity_of, kept
from eyestream_engines.spec import EncoderFile, names
from eyestream_engines.verifying import TRITON

SMALL = "octcube_toy"


@pytest.fixture(scope="module")
def case():
    return Case.open(PARITY / SMALL)


@pytest.fixture(scope="module")
def measured(case, tmp_path_factory):
    """The smallest case, measured in a process of its own."""
    folder = tmp_path_factory.mktemp("measured")
    steps = []
    measuring.measure(case, folder, plans=False, told=steps.append)
    assert "asking Triton" in steps
    return folder


def row(**gates):
    readings = [Reading("original embedding", gates.get("original", 1e-6), 1e-4)]
    readings.append(Reading(GRAPH, 1e-6, 1e-4))
    readings += [Reading(name, 1e-3, 3e-2, 0.99999, 0.9999, gates.get("rank", 0.999), 0.99) for name in (FP16, TRITON)]
    return Row("octcube-toy", tuple(readings), 200_000, 0.007, Plan("tensorrt-rtx", "8.9", 5.0, 10**6))


def state(*rows, cases=(SMALL,)):
    return State(cases, {SMALL: Record(SMALL, "same", "a machine", 1.0, rows)} if rows else {}, {})


def test_a_case_is_measured_from_its_keys_to_tritons_answer(measured):
    (found,) = kept(measured, SMALL).rows
    assert {GRAPH, FP16, TRITON} <= {reading.gate for reading in found.readings}
    assert found.parameters == 200_448
    assert found.gmacs > 0
    assert not broken(found)


def test_what_was_measured_is_not_measured_again(case, measured, monkeypatch):
    monkeypatch.setattr(running, "measure", lambda *_, **__: pytest.fail("measured again"))
    found = running.run([case], measured, plans=False, told=lambda _case, _line: None)
    assert found.records.keys() == {SMALL}
    assert summary(found) == "engines: 1 cases, 1 parity, 1 fp16, 0 plans, 1 served, 0 failed"


def test_a_case_that_was_measured_without_a_compiler_is_measured_again_where_there_is_one(case, measured, monkeypatch):
    begun = []
    monkeypatch.setattr(running, "measure", lambda case, *_, **__: begun.append(case.name))
    monkeypatch.setattr(running, "installed", lambda _name: True)
    found = running.run([case], measured, plans=True, told=lambda _case, _line: None)
    assert begun == [SMALL]
    assert found.records.keys() == {SMALL}
    monkeypatch.setattr(running, "installed", lambda _name: False)
    running.run([case], measured, plans=True, told=lambda _case, _line: None)
    assert begun == [SMALL]


def test_what_was_measured_with_other_code_is_left_out_and_said(case, measured, tmp_path):
    dataclasses.replace(kept(measured, SMALL), identity="another").save(tmp_path)
    found = running.run([case], tmp_path, minutes=0, plans=False, told=lambda _case, _line: None)
    told = "\n".join(page(found, compute="8.9"))
    assert f"`{SMALL}` was not run** since code" in told
    assert told.endswith("1 not run")


def test_bounds_are_those_of_today_and_not_of_the_measurement(case, monkeypatch):
    assert not broken(row())
    assert broken(row(original=1.5e-4))
    assert broken(row(rank=0.98))
    told = "\n".join(page(state(row(rank=0.98)), compute="8.9"))
    assert "**0.98000 < 0.99**" in told
    assert "1 failed" in summary(state(row(rank=0.98)))


def test_a_tolerance_does_not_make_measurements_stale_and_a_size_does(case, monkeypatch):
    (encoder,) = case.encoders
    before = identity_of(case)
    looser = encoder.model_copy(update={"tolerance": encoder.tolerance.model_copy(update={"half": 0.5})})
    monkeypatch.setattr(Case, "encoders", [looser])
    assert identity_of(case) == before
    monkeypatch.setattr(
        Case, "encoders", [encoder.model_copy(update={"output": encoder.output.model_copy(update={"dim": 3})})]
    )
    assert identity_of(case) != before


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("families/octcube.py", True),
        ("networks/octcube.py", True),
        ("texts/towers.py", True),
        ("precision.py", True),
        ("compilers/tensorrt.py", True),
        ("families/vit.py", False),
        ("networks/vit.py", False),
        ("cli.py", False),
        ("spec.py", False),
    ],
)
def test_what_a_case_runs_makes_it_stale_and_another_familys_code_does_not(case, changed, stale, tmp_path, monkeypatch):
    shutil.copytree(code.SHELF / code.PACKAGE, tmp_path / code.PACKAGE)
    before = identity_of(case)
    monkeypatch.setattr(code, "SHELF", tmp_path)
    assert identity_of(case) == before
    with (tmp_path / code.PACKAGE / changed).open("a") as file:
        file.write("# changed\n")
    assert (identity_of(case) != before) == stale


def test_every_family_is_part_of_what_its_own_cases_run():
    for told in map(EncoderFile.load, names()):
        family = told.architecture.family
        assert code.SHELF / code.PACKAGE / "families" / f"{family.replace('-', '_')}.py" in code.modules([family])


def test_a_process_that_dies_is_a_row_that_says_so(case, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring.sys, "executable", "/bin/false")
    record = measuring.measure(case, tmp_path, plans=False)
    assert broken(record.rows[0])
    assert "status 1" in "\n".join(page(State([SMALL], {SMALL: record}, {}), compute="8.9"))
    assert kept(tmp_path, SMALL) == record


def speaking_of(folder):
    """Command lines of the processes that work in this folder."""
    told = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [" ".join(words) for words in told if any(str(folder) in word for word in words)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_report_that_is_ended_ends_its_triton(number, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [str(Path(sys.executable).with_name("eyestream-engines")), "report", SMALL]
    command += ["--measured", str(tmp_path / "measured"), "--page", str(tmp_path / "page.md")]
    environment = {**os.environ, "TMPDIR": str(temporary)}  # noqa: TID251 - handed on whole
    report = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not any("tritonserver" in line for line in speaking_of(temporary)):
            assert report.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        report.send_signal(number)
        assert report.wait(120) == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    finally:
        report.kill()
    assert speaking_of(tmp_path) == []
    assert not [left for left in temporary.iterdir() if left.is_dir()], "what was built is gone too"


def test_a_damaged_record_is_measured_again(tmp_path):
    (tmp_path / f"{SMALL}.json").write_text('{"case": "octc')
    assert kept(tmp_path, SMALL) is None


def test_a_row_that_was_given_up_is_told_with_its_reason():
    told = "\n".join(page(state(dataclasses.replace(row(), failed="too little\n memory")), compute="8.9"))
    assert "given up.** too little memory" in told


def test_every_case_of_the_repository_is_a_row_or_a_line(tmp_path):
    done = CliRunner().invoke(
        app, ["report", "--minutes", "0", "--page", str(tmp_path / "page.md"), "--measured", str(tmp_path)]
    )
    text = (tmp_path / "page.md").read_text()
    for folder in PARITY.glob("*/keys.json"):
        assert f"`{folder.parent.name}`" in text
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == text.splitlines()[-1]


def test_a_case_that_is_none_is_named():
    with pytest.raises(Misconfigured, match="no parity case nobody"):
        CliRunner().invoke(app, ["report", "nobody"], catch_exceptions=False)


def test_measurements_are_kept_with_the_repository():
    assert records.MEASURED.parent == PARITY.parent
