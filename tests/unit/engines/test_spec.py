"""Encoders as their TOML describes them, and the configuration Triton gets of it."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc import model_config_pb2

from eyestream.decoding import Limits, Preprocessing, decode
from eyestream.errors import Misconfigured
from eyestream.records import Digest
from eyestream_engines import spec, triton_config
from eyestream_engines.cases import NO_ENCODERS, Case, shipped
from eyestream_engines.heads import parity
from eyestream_engines.spec import SHELF, EncoderFile, Input, Serving

REPOSITORY = SHELF.parent / "model_repository"
NAMES = sorted(path.stem for path in (SHELF / "encoders").glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_file_can_be_read_and_bears_its_own_name(name: str) -> None:
    encoder = EncoderFile.load(name)
    assert encoder.name == name
    assert encoder.licence


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match="eyestream-demo"):
        EncoderFile.load("nobody")


@pytest.mark.parametrize("name", ["..", "../parity/octcube_toy/encoder", "x" * 300, ""])
def test_a_name_is_a_name_and_never_a_path(name: str) -> None:
    with pytest.raises(Misconfigured, match="there is no encoder"):
        EncoderFile.load(name)


def test_a_copied_description_must_be_given_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its engine would be published over that of the one it was copied from."""
    (tmp_path / "encoders").mkdir()
    shutil.copy(SHELF / "encoders" / "flair.toml", tmp_path / "encoders" / "mine.toml")
    monkeypatch.setattr(spec, "SHELF", tmp_path)
    with pytest.raises(Misconfigured, match='write name = "mine"'):
        EncoderFile.load("mine")


def test_pixels_are_never_divided_by_nothing() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Input(height=8, width=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.0, 0.2))


def test_a_preferred_batch_is_no_larger_than_the_largest() -> None:
    with pytest.raises(ValueError, match="larger than max_batch, 16"):
        Serving(max_batch=16, preferred_batches=(8, 32))


def test_the_committed_configuration_is_what_the_checkpoint_and_the_file_make() -> None:
    encoder = EncoderFile.load("eyestream-demo")
    committed = (REPOSITORY / encoder.name / "config.pbtxt").read_text()
    assert committed == triton_config.render(encoder, encoder.digest())


def test_the_configuration_says_what_the_worker_reads() -> None:
    encoder = EncoderFile.load("eyestream-demo")
    text = triton_config.render(encoder, encoder.digest())
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == encoder.serving.max_batch
    assert [(i.name, list(i.dims), i.data_type) for i in config.input] == [
        ("pixels", [256, 256, 3], model_config_pb2.TYPE_UINT8)
    ]
    assert [(o.name, list(o.dims), o.data_type) for o in config.output] == [
        ("embedding", [encoder.output.dim], model_config_pb2.TYPE_FP16)
    ]
    assert config.parameters["eyestream.digest"].string_value == encoder.digest()
    said = config.parameters["eyestream.preprocessing"].string_value
    assert Preprocessing.from_json(said) == encoder.preprocessing
    assert json.loads(said)["crop"] == "field-of-view"
    assert config.instance_group[0].count == encoder.serving.instances


def test_another_checkpoint_makes_another_configuration() -> None:
    encoder = EncoderFile.load("eyestream-demo")
    assert triton_config.render(encoder, encoder.digest()) != triton_config.render(encoder, "0" * 64)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", list(shipped()), ids=lambda case: case.name)
def test_every_parity_case_is_an_encoders_or_has_a_reason_not_to_be(case: Case) -> None:
    used = bool(case.encoders) or case.name == parity.CASE
    assert used != (case.name in NO_ENCODERS)


def test_a_file_is_the_published_one_or_another_or_nobody_knows() -> None:
    flair = EncoderFile.load("flair").published
    assert flair is not None
    assert flair.holds(Digest("050334cd934fa3126435c202c41f493ca222fc3fe3ea9c50cf21f67c792a1440")) is True
    assert flair.holds(Digest("0" * 64)) is False
    assert flair.model_copy(update={"sha256": ()}).holds(Digest("0" * 64)) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_hash_in_an_encoder_file_is_one(name: str) -> None:
    encoder = EncoderFile.load(name)
    written = [*(encoder.published.sha256 if encoder.published else ())]
    written += [encoder.wording.vocabulary_sha256] if encoder.wording else []
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in written)


def test_an_encoder_says_whether_the_line_can_use_it() -> None:
    told = {name: EncoderFile.load(name).served_by for name in NAMES}
    assert told["octcube"] == "Triton alone: it reads volumes of 60 B-scans, and the line sends single pictures"
    assert told["visionfm-fundus-segmentation"] == "Triton alone: it gives masks, and the line scores vectors"
    assert told["octcube-ir-enface"] == told["retinavlm"] == "the line"
    volumes = {"octcube", "octcube-ir", "octcube-ef", "octcube-multitask"}
    assert {name for name, by in told.items() if by != "the line"} == volumes | {"visionfm-fundus-segmentation"}


def test_a_classifier_is_given_pictures_as_its_own_authors_prepare_them() -> None:
    """RETFound and DERETFound have files of one format, and no file tells its preparation."""
    told = {name: EncoderFile.load(name).preprocessing for name in NAMES}
    assert told["retfound-classifier"] == told["retfound-cfp"] != told["deretfound"]
    assert told["deretfound-classifier"] == told["deretfound"]


@pytest.mark.parametrize("name", ["retinavlm", "retinavlm-tokens"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_section_of_retinavlms_scale_is_cut_to_its_middle(name: str, times: int) -> None:
    """Its authors take 192 by 192 out of 208 by 256 pixels, which are a section of 416 by 512 halved."""
    halved = np.random.default_rng(5).integers(0, 256, (208, 256), np.uint8)
    file = io.BytesIO()
    Image.fromarray(halved.repeat(times, 0).repeat(times, 1)).save(file, "png")
    got = decode(
        file.getvalue(), preprocessing=EncoderFile.load(name).preprocessing, height=192, width=192, limits=Limits()
    )
    assert np.array_equal(got, np.repeat(halved[8:200, 32:224, None], 3, axis=2))
