"""The text tower that comes with the project, run by ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from eyestream.banks.onnx import GRAPH, INPUT, VOCABULARY, OnnxTextEncoder, Vocabulary
from eyestream.errors import Misconfigured
from eyestream_engines.spec import SHELF

FOLDER = SHELF / "demo" / "text"
TEXTS = ["drusen", "a fundus photograph with haemorrhages", "no sign of a cataract", "un mot jamais vu", "AMD"]


@pytest.fixture(scope="module")
def encoder() -> OnnxTextEncoder:
    return OnnxTextEncoder(FOLDER)


def test_vectors_have_length_one_and_the_towers_dimension(encoder: OnnxTextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_vectors(encoder: OnnxTextEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_text_has_the_same_vector_whatever_its_neighbours(encoder: OnnxTextEncoder) -> None:
    together = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        assert np.array_equal(encoder.encode([text])[0], together[row])


def test_padding_inside_the_graph_changes_nothing(encoder: OnnxTextEncoder) -> None:
    vocabulary = Vocabulary.read(FOLDER / VOCABULARY)
    session = onnxruntime.InferenceSession(str(FOLDER / GRAPH), providers=["CPUExecutionProvider"])
    padded = np.pad(vocabulary.table(TEXTS), ((0, 0), (0, 9), (0, 5)))
    assert np.allclose(session.run(None, {INPUT: padded})[0], encoder.encode(TEXTS), atol=1e-5)


def test_case_accents_and_punctuation_are_not_heard(encoder: OnnxTextEncoder) -> None:
    one, other = encoder.encode(["Optic-disc cupping.", "optic  disc cuppíng"])
    assert np.array_equal(one, other)


def test_a_denial_is_heard_and_a_word_that_begins_like_one_is_not(encoder: OnnxTextEncoder) -> None:
    plain, noted, denied = encoder.encode(["drusen", "drusen noted", "no drusen"])
    assert plain @ noted > 0.8
    assert plain @ denied < 0.5


def test_a_misspelt_word_lies_nearer_to_its_own_than_to_another(encoder: OnnxTextEncoder) -> None:
    misspelt, own, other = encoder.encode(["haemorrhagess", "haemorrhages", "cataract"])
    assert misspelt @ own > misspelt @ other + 0.2


@pytest.mark.parametrize("text", ["", "  ", "…", "糖尿病", "word " * 100])
def test_a_text_that_cannot_be_read_whole_is_refused(encoder: OnnxTextEncoder, text: str) -> None:
    with pytest.raises(ValueError, match="word"):
        encoder.encode([text])


def test_the_digest_changes_with_either_file(tmp_path: Path) -> None:
    for name in (GRAPH, VOCABULARY):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    same = OnnxTextEncoder(tmp_path).digest
    assert same == OnnxTextEncoder(FOLDER).digest
    (tmp_path / VOCABULARY).write_bytes((FOLDER / VOCABULARY).read_bytes() + b"\n")
    assert OnnxTextEncoder(tmp_path).digest != same


@pytest.mark.parametrize("content", ["", "[]", '{"words": 3}', '{"words": ["a"], "surprise": 1}'])
def test_a_folder_without_a_vocabulary_is_the_operators_fault(tmp_path: Path, content: str) -> None:
    (tmp_path / VOCABULARY).write_text(content)
    with pytest.raises(Misconfigured, match="vocabulary"):
        OnnxTextEncoder(tmp_path)


def test_a_graph_that_is_none_is_the_operators_fault(tmp_path: Path) -> None:
    (tmp_path / VOCABULARY).write_bytes((FOLDER / VOCABULARY).read_bytes())
    with pytest.raises(Misconfigured, match=GRAPH):
        OnnxTextEncoder(tmp_path)
    (tmp_path / GRAPH).write_bytes(b"no graph")
    with pytest.raises(Misconfigured, match=GRAPH):
        OnnxTextEncoder(tmp_path)


def test_every_feature_has_a_row_and_a_word_has_a_bounded_number() -> None:
    vocabulary = Vocabulary.read(FOLDER / VOCABULARY)
    for word in ("drusen", "x", "pneumonoultramicroscopicsilicovolcanoconiosis"):
        found = vocabulary.features(word)
        assert 0 < len(found) <= vocabulary.max_features
        assert all(0 < feature < vocabulary.rows for feature in found)
    assert json.loads((FOLDER / VOCABULARY).read_text())["words"] == sorted(vocabulary.words)
