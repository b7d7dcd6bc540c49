"""What an engine says of its input."""

from __future__ import annotations

from dataclasses import replace

from eyestream.encoders.fake import FakeEncoder


def test_a_pictures_shape_ends_in_its_channels_and_a_volumes_begins_with_its_frames() -> None:
    spec = FakeEncoder(height=4, width=6).spec
    assert spec.shape == (4, 6, 3)
    assert replace(spec, frames=48, channels=1).shape == (48, 4, 6, 1)
