from __future__ import annotations

import subprocess
import sys

import pytest

from eyestream import __version__
from eyestream.apps import cli


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "eyestream", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_the_help_names_every_group_and_command():
    told = run("--help").stdout
    for name in [*cli.GROUPS, *cli.COMMANDS]:
        assert name in told


@pytest.mark.parametrize("name", [*cli.GROUPS, *cli.COMMANDS])
def test_every_group_and_command_explains_itself(name):
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_the_version_is_the_packages_own():
    assert run("version").stdout.strip() == __version__


def test_a_mistake_is_one_clear_line_and_no_traceback():
    done = run("screening", "run", "--settings", "no-such-file.toml")
    assert done.returncode == 1
    assert done.stderr.startswith("eyestream: There is no settings file no-such-file.toml")
    assert "Traceback" not in done.stderr
