from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))
NEEDS_KAFKA = {"01_send_a_folder.py"}


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.name not in NEEDS_KAFKA], ids=lambda path: path.name)
def test_an_example_runs_and_says_something(example, tmp_path):
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
