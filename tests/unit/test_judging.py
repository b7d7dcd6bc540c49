from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eyestream.banks.head import Provenance, ScoreHead
from eyestream.banks.shelf import Bank
from eyestream.errors import Rejected
from eyestream.judging import judge
from eyestream.programmes.uncalibrated import of_labels
from eyestream.records import Capture, Digest, Message, Position, Timings
from eyestream.scoring import Judge, Row, View
from eyestream.testing.messages import meta_for

ENCODER, PREPROCESSING = Digest("e" * 64), Digest("f" * 64)


def view(*weights, name="any"):
    """A sigmoid of one condition: `weights` [dim]."""
    one = np.ones((1, 1), np.float32)
    return View(name, np.asarray([weights], np.float32), np.zeros(1, np.float32), one, scale=1.0, l2=False)


def bank(condition, *views):
    judges = (Judge(condition, "finding", 0, (), (0,), {"balanced": 0.5}, "balanced"),)
    provenance = Provenance(encoder=ENCODER, preprocessing=PREPROCESSING, kind="probe")
    return Bank(
        of_labels("labels", "Labels", [condition]),
        ScoreHead(views, (Row(f"phrase of {condition}"),), judges, provenance),
    )


def capture(number, *, programme, laterality="R"):
    meta = meta_for(bytes([number]), programme=programme, laterality=laterality)
    message = Message(b"", {}, Position("images", 0, number), produced=1.0, fetched=2.0)
    return Capture(meta, np.zeros((1, 1, 3), np.uint8), message, Timings(0.0, 1.0, 2.0, 3.0), f"trace-{number}")


def judged(batch, embeddings, banks):
    vectors = np.asarray(embeddings, np.float32)
    return judge(batch, vectors, banks=banks, encoder=ENCODER, preprocessing=PREPROCESSING, encoded=4.0)


ONE, TWO = bank("drusen", view(9, 0)), bank("exudates", view(0, 9))


def test_pictures_of_two_programmes_in_one_batch_each_go_through_their_own_bank():
    batch = [capture(number, programme="one" if number % 2 else "two") for number in range(4)]
    results = judged(batch, [[1, -1], [1, -1], [-1, 1], [-1, 1]], {"one": ONE, "two": TWO})
    assert [result.meta for result in results] == [one.meta for one in batch]
    assert [result.identity.bank for result in results] == [TWO.head.digest, ONE.head.digest] * 2
    assert [result.programme for result in results] == [TWO.programme.digest, ONE.programme.digest] * 2
    assert [result.findings[0].condition for result in results] == ["exudates", "drusen"] * 2
    assert [result.findings[0].positive for result in results] == [False, True, True, False]


def test_a_result_has_its_own_captures_position_times_and_trace():
    batch = [capture(number, programme="one") for number in range(3)]
    for one, result in zip(batch, judged(batch, np.ones((3, 2)), {"one": ONE}), strict=True):
        assert (result.position, result.traceparent) == (one.message.position, one.traceparent)
        assert result.timings == dataclasses.replace(one.timings, encoded=4.0)
        assert (result.identity.encoder, result.preprocessing) == (ENCODER, PREPROCESSING)


def test_each_eye_is_judged_through_its_own_view():
    views = [view(9, 0, 0, name="patient"), view(0, 9, 0, name="left"), view(0, 0, 9, name="right")]
    batch = [capture(number, programme="eyes", laterality=eye) for number, eye in enumerate("RLUR")]
    embeddings = [[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, -1]]
    results = judged(batch, embeddings, {"eyes": bank("drusen", *views)})
    assert [result.findings[0].positive for result in results] == [True, True, True, False]


def test_a_programme_whose_bank_was_taken_out_in_flight_refuses_its_own_pictures_alone():
    batch = [capture(number, programme=name) for number, name in enumerate(("gone", "one", "gone"))]
    first, kept, last = judged(batch, np.ones((3, 2)), {"one": ONE})
    assert kept.meta == batch[1].meta
    for refusal in (first, last):
        assert isinstance(refusal, Rejected)
        assert (refusal.reason, refusal.stage) == ("unknown-programme", "scoring")
        assert "'gone'" in refusal.explanation


def test_an_embedding_that_says_nothing_refuses_its_own_picture_alone():
    batch = [capture(number, programme="one") for number in range(4)]
    results = judged(batch, [[1, 0], [0, 0], [np.inf, 1], [-1, 0]], {"one": ONE})
    assert [result.reason for result in results[1:3]] == ["embedding-without-direction", "embedding-not-finite"]
    assert {result.stage for result in results[1:3]} == {"encoding"}
    assert [results[0].findings[0].positive, results[3].findings[0].positive] == [True, False]
    assert [results[0].meta, results[3].meta] == [batch[0].meta, batch[3].meta]


@pytest.mark.parametrize("came", [1, 3])
def test_as_many_embeddings_as_pictures_or_nothing_is_judged(came):
    with pytest.raises(ValueError, match=f"2 pictures were sent to the encoder and {came} embeddings came back"):
        judged([capture(number, programme="one") for number in range(2)], np.ones((came, 2)), {"one": ONE})
