"""Folders that are no parity case, or are damaged."""

from __future__ import annotations

import json
import shutil

import pytest

from eyestream.errors import Misconfigured
from eyestream_engines import verifying
from eyestream_engines.cases import PARITY, Case

SMALL = "octcube_toy"


@pytest.fixture
def folder(tmp_path):
    """A copy of a small case, to be damaged."""
    return shutil.copytree(PARITY / SMALL, tmp_path / SMALL)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "<html>"])
def test_what_is_no_table_of_keys_is_refused(folder, text):
    (folder / "keys.json").write_text(text)
    with pytest.raises(Misconfigured, match=r"is not a parity case: keys\.json"):
        Case.open(folder)


@pytest.mark.parametrize("entry", [7, ["float32"], ["a", "float32"], [[2, 3], "float33"], [[-1], "float32"]])
def test_a_key_without_a_shape_and_a_dtype_is_refused(folder, entry):
    facts = json.loads((folder / "keys.json").read_text())
    facts["keys"][next(iter(facts["keys"]))] = entry
    (folder / "keys.json").write_text(json.dumps(facts))
    with pytest.raises(Misconfigured, match=r"keys\.json: keys: "):
        Case.open(folder).tensors()


def test_keys_that_are_a_list_are_refused(folder):
    (folder / "keys.json").write_text(json.dumps({"keys": ["a", "b"]}))
    with pytest.raises(Misconfigured, match=r"keys\.json: keys: "):
        Case.open(folder).tensors()


@pytest.mark.parametrize("data", [b"", b"PK", b"no archive at all"])
def test_numbers_that_cannot_be_read_are_told(folder, data):
    (folder / "expected_seed0.npz").write_bytes(data)
    with pytest.raises(Misconfigured, match=r"expected_seed0\.npz cannot be read .* fetch the case again"):
        Case.open(folder).expected()


def test_a_seed_that_nobody_stored_is_told_before_anything_is_computed(folder):
    with pytest.raises(Misconfigured, match=r"expected_seed7\.npz does not exist"):
        next(verifying.verify(Case.open(folder, seed=7), told=lambda step, _: pytest.fail(step)))
