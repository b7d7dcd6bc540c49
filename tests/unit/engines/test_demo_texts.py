"""What training says of its eyes is true of them."""

from __future__ import annotations

import numpy as np

from eyestream.testing.eyes import Eye, random_eye
from eyestream.testing.eyes.claims import CLAIMS, Claim
from eyestream_engines.demo import texts

EYES = [random_eye(np.random.default_rng(seed)) for seed in range(60)]


def test_a_text_of_two_claims_is_true_only_where_both_are() -> None:
    eyes = [
        Eye(findings=frozenset({"drusen", "exudates"})),
        Eye(findings=frozenset({"drusen"})),
        Eye(findings=frozenset({"drusen", "exudates"}), quality="blur"),
        Eye(findings=frozenset({"drusen"}), quality="blur"),
    ]
    claims = (CLAIMS.index(Claim("finding", "drusen")), CLAIMS.index(Claim("finding", "exudates")))
    judged = texts.judge([texts.Text("drusen and exudates", claims)], texts.truth(eyes))
    assert judged[:, 0].tolist() == [1, 0, -1, 0]


def test_a_mirrored_eye_changes_its_side_and_nothing_else() -> None:
    before, after = texts.truth(EYES), texts.truth(texts.mirrored(EYES))
    right, left = CLAIMS.index(Claim("side", "right")), CLAIMS.index(Claim("side", "left"))
    assert np.array_equal(before[right], after[left])
    others = [row for row in range(len(CLAIMS)) if row not in {right, left}]
    assert np.array_equal(before[others], after[others])


def test_every_claim_is_drawn_and_every_drawn_text_can_be_read() -> None:
    drawn = texts.draw(np.random.default_rng(0), 2000)
    assert {claim for text in drawn for claim in text.claims} == set(range(len(CLAIMS)))
    vocabulary = texts.vocabulary()
    table = texts.table(np.random.default_rng(0), vocabulary, drawn[:200])
    assert table.max() < vocabulary.rows
    assert (table > 0).any(axis=(1, 2)).all()


def test_some_words_forget_their_own_entry_and_keep_their_letters() -> None:
    vocabulary = texts.vocabulary()
    said = [texts.Text("drusen", (0,))] * 400
    own = 1 + vocabulary.words.index("drusen")
    table = texts.table(np.random.default_rng(1), vocabulary, said)
    forgotten = (table != own).all(axis=(1, 2)).mean()
    assert 0.05 < forgotten < 0.3
    assert ((table > len(vocabulary.words)).sum(axis=(1, 2)) > 5).all()
