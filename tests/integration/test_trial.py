"""The demonstration with an encoder that nobody has calibrated, as its user sees it; the real parts, the real command.

The encoder is the demonstration's own under another programme: published ones need torch to be built.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eyestream.apps import bank
from eyestream.apps.trial import BANKS, PROGRAMME, REPOSITORY, Trial
from eyestream.banks.build import build
from eyestream.banks.shelf import Shelf
from eyestream.programmes import Programme
from eyestream.programmes.uncalibrated import uncalibrated

ROOT = Path(__file__).parents[2]
MODEL = "eyestream-demo"


def run(*arguments, **how):
    command = [sys.executable, "-m", "eyestream", "demo", *map(str, arguments)]
    return subprocess.run(command, check=False, text=True, **how)


@pytest.fixture
def folder(tmp_path):
    """What `eyestream-engines trial` makes, of the model in this repository."""
    shutil.copytree(ROOT / "model_repository" / MODEL, tmp_path / REPOSITORY / MODEL)
    programme = uncalibrated(Programme.builtin("demo"))
    (tmp_path / PROGRAMME).write_text(programme.text)
    encoder, preprocessing = bank.served(tmp_path / REPOSITORY, MODEL)
    tower = bank.tower(ROOT / "build_engines" / "demo" / "text")
    head = build(programme, tower, encoder_digest=encoder, preprocessing_digest=preprocessing)
    shelf = Shelf(tmp_path / BANKS)
    shelf.publish(programme, head)
    shelf.activate(programme.name, head.digest)
    Trial(MODEL, "An encoder on trial", programme.name, ("It is asked in English.",)).save(tmp_path)
    return tmp_path


@pytest.mark.stack
@pytest.mark.serve
@pytest.mark.timeout(900)
def test_scores_are_shown_and_nobody_is_referred(folder, state):
    done = run("--trial", folder, "--state", state, cwd=ROOT, capture_output=True, timeout=850)
    told = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    table = told.index("not calibrated")
    assert told.index("nobody has measured operating points for this encoder") < table
    assert "nothing was referred" in told
    assert "It is asked in English." in told
    assert "exam-12" in told[table:]
    assert "Lost: 0." in told
    for word in ("refer\n", "Same day", "Within four weeks", "Nobody needs to act on", "clear"):
        assert word not in done.stdout


def test_a_folder_that_is_no_trial_is_refused_in_one_sentence(tmp_path):
    done = run("--trial", tmp_path, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert "eyestream-engines trial" in done.stderr
    assert "Traceback" not in done.stderr
