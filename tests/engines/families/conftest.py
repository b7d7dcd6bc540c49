"""Encoders and their parity cases' weights, each filled once."""

from __future__ import annotations

import functools

import pytest

SMALL = {"octcube-toy": "octcube_toy", "octcube-ir-toy": "octcube_ir_toy", "octcube-ef-toy": "octcube_ef_toy"}
"""Networks made small, which are described in their case's folder."""


@pytest.fixture(scope="session")
def encoder_of():
    """The description of an encoder, by its name."""
    from eyestream_engines.cases import PARITY
    from eyestream_engines.spec import EncoderFile

    @functools.cache
    def read(name):
        return EncoderFile.read(PARITY / SMALL[name] / "encoder.toml") if name in SMALL else EncoderFile.load(name)

    return read


@pytest.fixture(scope="session")
def weights_of(encoder_of):
    """The weights of an encoder's parity case, by its name; not to be changed in place."""
    from eyestream_engines import checkpoints
    from eyestream_engines.cases import PARITY, Case

    @functools.cache
    def read(name):
        encoder = encoder_of(name)
        return checkpoints.select(encoder, Case.open(PARITY / encoder.parity).file())

    return read
