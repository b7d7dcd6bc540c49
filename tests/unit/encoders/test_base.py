"""What an engine says of its input."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eyestream.encoders.fake import FakeEncoder
from eyestream.errors import Misconfigured


def test_a_pictures_shape_ends_in_its_channels_and_a_volumes_begins_with_its_frames() -> None:
    spec = FakeEncoder(height=4, width=6).spec
    assert spec.shape == (4, 6, 3)
    assert replace(spec, frames=48, channels=1).shape == (48, 4, 6, 1)


def test_the_line_takes_engines_of_pictures_and_refuses_those_of_volumes_and_of_one_channel() -> None:
    spec = FakeEncoder(height=4, width=6).spec
    spec.require_pictures()
    with pytest.raises(Misconfigured, match=r"48 x 4 x 6 x 1 numbers.*\[triton\] model"):
        replace(spec, frames=48, channels=1).require_pictures()
    with pytest.raises(Misconfigured, match="4 x 6 x 1 numbers"):
        replace(spec, channels=1).require_pictures()
