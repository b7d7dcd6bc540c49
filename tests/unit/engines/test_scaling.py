"""What scaled decoding changes, measured with the one encoder whose weights are ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eyestream.errors import Misconfigured
from eyestream.records import Pixels
from eyestream_engines import scaling
from eyestream_engines.demo.evaluate import graph
from eyestream_engines.gates import Floats
from eyestream_engines.inference import embed
from eyestream_engines.spec import EncoderFile

LARGE = scaling.drawn([(1224, 1632), (1536, 2048)])


def demo(_encoder: EncoderFile, pixels: Pixels) -> Floats:
    """The demonstration's engine."""
    return embed(graph(), pixels)


def not_asked(encoder: EncoderFile, pixels: Pixels) -> Floats:
    """A network that nobody needs to ask."""
    raise AssertionError(f"{encoder.name} was asked for {len(pixels)} vectors")


def test_scaled_photographs_give_nearly_the_same_vectors_in_the_same_order() -> None:
    effect = scaling.measure(EncoderFile.load("eyestream-demo"), LARGE, demo)
    assert 0 < effect.grey_levels < 2
    assert effect.agreement is not None
    assert effect.agreement.cosine > 0.999
    assert effect.agreement.rank > 0.99


def test_another_picture_under_the_same_name_is_not_taken_for_scaling() -> None:
    """The reference follows the whole picture, so that a network that looks away from pixels is found out."""
    turned = iter((False, True))
    effect = scaling.measure(
        EncoderFile.load("eyestream-demo"),
        LARGE,
        lambda encoder, pixels: demo(encoder, np.ascontiguousarray(pixels[::-1]) if next(turned) else pixels),
    )
    assert effect.agreement is not None
    assert effect.agreement.rank < 0.5


@pytest.mark.parametrize("name", ["retinavlm", "visionunite"])
def test_an_encoder_that_samples_its_own_pixels_is_given_the_whole_picture(name: str) -> None:
    effect = scaling.measure(EncoderFile.load(name), LARGE[:1], not_asked)
    assert effect == scaling.Effect(name, 0.0, None)
    assert "the same" in effect.row()


def test_a_photograph_smaller_than_the_input_is_decoded_whole_by_both() -> None:
    effect = scaling.measure(EncoderFile.load("flair"), scaling.drawn([(400, 480)]), not_asked)
    assert effect.agreement is None


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(Misconfigured, match=r"holds no \*\.jpg"):
        scaling.photographs(tmp_path)


def test_the_page_names_the_pictures_and_every_encoder() -> None:
    effects = [scaling.measure(EncoderFile.load("eyestream-demo"), LARGE[:1], demo)]
    told = "\n".join(scaling.page(effects, pictures="one drawn eye"))
    assert "one drawn eye" in told
    assert told.endswith(effects[0].row())
