"""What a machine lacks is said at once and with what mends it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from eyestream.apps.local import preflight
from eyestream.apps.local.preflight import Machine, problems

GOOD = Machine(
    system="Linux",
    processor="x86_64",
    libc="glibc",
    python="3.11.9",
    has_venv=True,
    libpython=Path("/usr/lib/libpython3.11.so.1.0"),
    folder=Path("/home"),
    free_gib=20.0,
    free_shm_mib=512.0,
)


def test_a_machine_that_has_everything_has_no_problem():
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        ({"system": "Darwin"}, "Darwin x86_64"),
        ({"processor": "aarch64"}, "Linux aarch64"),
        ({"libc": ""}, "another C library"),
        ({"python": "3.13.1"}, "PYTHON=python3.11"),
        ({"python": "3.9.2"}, "this is 3.9.2"),
        ({"has_venv": False}, "apt-get install python3.11-venv"),
        ({"libpython": None}, "apt-get install libpython3.11"),
        ({"free_gib": 5.9}, "5.9 GiB are free and 6 needed"),
        ({"free_shm_mib": 10.0}, "--shm-size=1g"),
    ],
)
def test_a_lack_is_named_with_what_mends_it(lack: dict[str, object], said: str):
    (problem,) = problems(dataclasses.replace(GOOD, **lack))
    assert said in problem


def test_all_lacks_are_told_at_once():
    assert len(problems(dataclasses.replace(GOOD, has_venv=False, libpython=None, free_gib=0.1))) == 3


def test_less_room_is_enough_once_the_packages_are_installed():
    assert problems(dataclasses.replace(GOOD, free_gib=2.0), needed_gib=1.0) == []


def test_a_folder_that_does_not_exist_yet_is_judged_by_the_one_above_it(tmp_path: Path):
    assert Machine.here(tmp_path / "not" / "yet").folder == tmp_path


def test_it_runs_by_a_python_that_has_no_package_at_all(tmp_path: Path):
    command = [sys.executable, "-I", "-S", preflight.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode == 0) == ("can run the local stack" in done.stdout)
    assert (done.returncode == 1) == ("missing: " in done.stderr)
