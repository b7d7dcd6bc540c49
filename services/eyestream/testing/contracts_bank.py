"""What every text tower and every bank must keep, as tests to subclass. Knows no model.

class TestMyTower(TextEncoderContract):
    @pytest.fixture
    def text_encoder(self):
        return MyTower.load(...)

class TestMyBank(BankContract):
    @pytest.fixture
    def bank(self):
        return Bank(Programme.load("my-programme.toml"), ScoreHead.load(...))
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from eyestream.banks.base import TextEncoder
from eyestream.banks.head import ScoreHead
from eyestream.banks.shelf import Bank, Shelf
from eyestream.records import Digest, Vectors
from eyestream.scoring import score

PHRASES = ("a healthy retina", "haemorrhages", "a fundus photograph showing a large optic cup", "drusen")


class TextEncoderContract:
    """Subclass it with a fixture `text_encoder`; `phrases` are texts that mean different things to the tower."""

    phrases = PHRASES
    tolerance = 1e-5

    def test_one_unit_vector_comes_back_for_each_text(self, text_encoder: TextEncoder) -> None:
        vectors = text_encoder.encode(self.phrases)
        assert vectors.shape == (len(self.phrases), text_encoder.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)

    def test_a_text_has_the_same_vector_whatever_its_neighbours(self, text_encoder: TextEncoder) -> None:
        together = text_encoder.encode(self.phrases)
        for row, phrase in enumerate(self.phrases):
            np.testing.assert_allclose(text_encoder.encode([phrase])[0], together[row], atol=self.tolerance)

    def test_rows_keep_the_order_of_texts(self, text_encoder: TextEncoder) -> None:
        forward = text_encoder.encode(self.phrases)
        backward = text_encoder.encode(self.phrases[::-1])
        np.testing.assert_allclose(forward, backward[::-1], atol=self.tolerance)

    def test_different_texts_have_different_vectors(self, text_encoder: TextEncoder) -> None:
        cosines = np.tril(text_encoder.encode(self.phrases) @ text_encoder.encode(self.phrases).T, k=-1)
        assert cosines.max() < 0.999

    def test_no_texts_have_no_vectors(self, text_encoder: TextEncoder) -> None:
        assert text_encoder.encode([]).shape == (0, text_encoder.dim)

    def test_an_empty_text_is_refused(self, text_encoder: TextEncoder) -> None:
        with pytest.raises(ValueError, match=r".+"):
            text_encoder.encode(["  "])

    def test_the_digest_is_a_sha256(self, text_encoder: TextEncoder) -> None:
        assert re.fullmatch(r"[0-9a-f]{64}", text_encoder.digest)
        assert text_encoder.digest == text_encoder.digest


class BankContract:
    """Subclass it with a fixture `bank`."""

    def embeddings(self, bank: Bank, count: int) -> Vectors:
        """Seeded unit vectors [count, dim]."""
        noise = np.random.default_rng(11).standard_normal((count, bank.head.dim)).astype(np.float32)
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        return noise

    def test_every_finding_is_judged_in_every_picture(self, bank: Bank) -> None:
        asked = tuple(condition.id for condition in bank.programme.findings)
        for judgement in score(bank.head, self.embeddings(bank, 5)):
            assert tuple(finding.condition for finding in judgement.findings) == asked
            assert all(0.0 <= finding.probability <= 1.0 for finding in judgement.findings)

    def test_the_prompt_of_a_finding_is_one_of_the_programmes(self, bank: Bank) -> None:
        phrases = {condition.id: set(condition.positive) for condition in bank.programme.conditions}
        for judgement in score(bank.head, self.embeddings(bank, 20)):
            for finding in (*judgement.findings, *judgement.quality):
                assert finding.prompt in phrases[finding.condition]

    def test_a_picture_is_judged_alike_whatever_its_batch_mates(self, bank: Bank) -> None:
        embeddings = self.embeddings(bank, 33)
        together = score(bank.head, embeddings)
        assert together == [score(bank.head, embeddings[row : row + 1])[0] for row in range(33)]

    def test_an_embedding_that_is_not_finite_is_refused(self, bank: Bank) -> None:
        embeddings = self.embeddings(bank, 3)
        embeddings[1, 0] = np.nan
        with pytest.raises(ValueError, match="not finite"):
            score(bank.head, embeddings)

    def test_conditions_can_be_told_apart(self, bank: Bank) -> None:
        everything = np.asarray(
            [[f.probability for f in (*j.findings, *j.quality)] for j in score(bank.head, self.embeddings(bank, 200))]
        )
        assert (everything.std(axis=0) > 0).all()

    def test_a_head_is_the_same_after_saving(self, bank: Bank, tmp_path: Path) -> None:
        loaded = ScoreHead.load(bank.head.save(tmp_path))
        assert loaded.digest == bank.head.digest
        assert loaded.to_bytes() == bank.head.to_bytes()
        embeddings = self.embeddings(bank, 4)
        assert score(loaded, embeddings) == score(bank.head, embeddings)

    def test_it_serves_its_own_encoder_only(self, bank: Bank, tmp_path: Path) -> None:
        shelf = Shelf(tmp_path)
        shelf.activate(bank.programme.name, shelf.publish(bank.programme, bank.head))
        served = shelf.open(bank.head.provenance.encoder, bank.head.provenance.preprocessing)
        assert served[bank.programme.name].head.digest == bank.head.digest
        with pytest.raises(Exception, match="was built for encoder"):
            shelf.open(Digest("0" * 64), bank.head.provenance.preprocessing)
