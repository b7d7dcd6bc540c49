"""The real Triton asked as the line asks it, and what is said of one that does not serve."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eyestream.apps.local import Stack
from eyestream.errors import Misconfigured, Unavailable
from eyestream_engines.gpu import serving


@pytest.fixture(scope="module")
def program(made, tmp_path_factory):
    """The wheel's tritonserver with the backends that the local stack lays out for it, as one program."""
    state = tmp_path_factory.mktemp("state")
    with Stack(state, model_repository=made.repository, parts=("triton",)) as stack:
        stack.up()
        (kept,) = state.rglob("command.json")
        command = json.loads(kept.read_text())
    server, backends = command["argv"][0], next(word for word in command["argv"] if "--backend-directory" in word)
    path = tmp_path_factory.mktemp("program") / "tritonserver"
    exported = " ".join(f"{name}={shlex.quote(value)}" for name, value in command["environment"].items())
    path.write_text(f'#!/bin/sh\nexec env {exported} {shlex.quote(server)} {shlex.quote(backends)} "$@"\n')
    path.chmod(0o755)
    return path


def test_a_server_that_we_start_answers_through_the_lines_own_client(program, made, vectors):
    with serving.by(program)(made.repository, "tiny") as address, serving.Client.to(address, "tiny") as client:
        np.testing.assert_allclose(client.answer(made.pictures[:4]), vectors[:4], atol=2e-3)
        client.contestant(made.pictures[:2])(5)
        assert client.in_flight == 2
    with pytest.raises(Unavailable):
        serving.Client.to(address, "tiny")


def test_a_server_that_ends_is_told_with_its_last_words(tmp_path):
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\necho plan of another version >&2\nexit 3\n")
    program.chmod(0o755)
    with (
        pytest.raises(Misconfigured, match=r"status 3.*\n.*plan of another version"),
        serving.by(program)(tmp_path, "m"),
    ):
        pytest.fail("it never served")


class Encoder:
    """Counts what is in flight; of two instances."""

    spec = SimpleNamespace(instances=2)

    def __init__(self, *, failing_at=None):
        self.now = self.most = self.asked = 0
        self._failing_at = failing_at

    async def encode(self, pixels):
        self.now, self.asked = self.now + 1, self.asked + 1
        number, self.most = self.asked, max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            if number == self._failing_at:
                raise Unavailable("triton", "out of memory")
            return pixels
        finally:
            self.now -= 1

    async def close(self):
        self.closed = True


async def connected(encoder):
    return encoder


PICTURE = np.zeros((1, 2, 2, 3), np.uint8)


def test_as_many_are_in_flight_as_the_line_keeps_and_each_is_asked_once():
    encoder = Encoder()
    with serving.Client(connected(encoder)) as client:
        client.contestant(PICTURE)(10)
    assert (encoder.asked, encoder.most, encoder.now) == (10, 4, 0)
    assert encoder.closed


def test_a_fault_ends_all_that_is_in_flight():
    encoder = Encoder(failing_at=3)
    with serving.Client(connected(encoder)) as client, pytest.raises(Unavailable, match="out of memory"):
        client.contestant(PICTURE)(1000)
    assert encoder.now == 0
    assert encoder.asked < 20


def test_the_server_is_the_named_one_or_that_of_the_path_or_of_nvidias_container(tmp_path, monkeypatch):
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert serving.server() == program
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(serving, "USUAL", program)
    assert serving.server() == program
    monkeypatch.setattr(serving, "USUAL", tmp_path / "none")
    assert serving.server() is None
    assert serving.server(program) == program
    with pytest.raises(Misconfigured, match="no program that can be run"):
        serving.server(Path("/nowhere/tritonserver"))
