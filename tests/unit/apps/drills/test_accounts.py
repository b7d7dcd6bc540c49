from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eyestream.apps.drills.accounts import Account, Alone, check_letters, check_results, flows_after
from eyestream.apps.drills.pictures import Drawn, draw, make_lot
from eyestream.banks.build import build
from eyestream.banks.shelf import Bank
from eyestream.brokers.deadletters import dead_letter_headers, parse
from eyestream.errors import Rejected
from eyestream.programmes import Programme
from eyestream.records import Identity, Message, Position, Screening, Timings, digest
from eyestream.scoring import score
from eyestream.testing.texts import FakeTextEncoder

ENCODER = digest("encoder")


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    return list(draw(6))


@pytest.fixture(scope="module")
def bank() -> Bank:
    programme = Programme.builtin("demo")
    head = build(programme, FakeTextEncoder(), encoder_digest=ENCODER, preprocessing_digest=digest("none"))
    return Bank(programme, head)


class Books:
    """Six pictures with embeddings of chance, and the results that a faultless line has of them."""

    def __init__(self, drawn: list[Drawn], bank: Bank) -> None:
        rng = np.random.default_rng(3)
        vectors = rng.standard_normal((len(drawn), 32)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.lot = make_lot("books", drawn, bad=0)
        self.alone = Alone({one.sha256: vector for one, vector in zip(drawn, vectors, strict=True)}, [bank])
        self.results = [
            Screening(
                meta=meta,
                identity=Identity(ENCODER, bank.head.digest),
                preprocessing=digest("none"),
                programme=bank.programme.digest,
                findings=judged.findings,
                quality=judged.quality,
                ungradable=judged.ungradable,
                position=Position("t", 0, number),
                timings=Timings(1, 1, 1, stored=100.0 + number),
                traceparent="",
            )
            for number, (meta, judged) in enumerate(zip(self.lot.metas, score(bank.head, vectors), strict=True))
        ]

    def check(self) -> tuple[int, list[str]]:
        return check_results(self.lot.metas, self.results, self.alone)


@pytest.fixture
def books(drawn: list[Drawn], bank: Bank) -> Books:
    return Books(drawn, bank)


def test_drawn_pictures_are_all_different_and_always_the_same(drawn: list[Drawn]):
    assert len({one.sha256 for one in drawn}) == len(drawn)
    assert [one.sha256 for one in draw(6)] == [one.sha256 for one in drawn]
    assert {one.content_type for one in drawn} == {"image/jpeg", "image/png"}


def test_the_books_of_a_faultless_line_balance(books: Books):
    assert books.check() == (0, [])


def test_a_picture_without_a_result_is_lost(books: Books):
    gone = books.results.pop(2)
    lost, [told] = books.check()
    assert lost == 1
    assert gone.meta.image_id in told


def test_results_handed_to_the_wrong_pictures_are_lost_and_told(books: Books):
    first, second = books.results[:2]
    books.results[0] = dataclasses.replace(first, findings=second.findings)
    books.results[1] = dataclasses.replace(second, findings=first.findings)
    lost, faults = books.check()
    assert lost == 2
    assert sum("not its own" in fault for fault in faults) == 2


def test_a_result_that_names_another_bank_is_not_its_own(books: Books):
    books.results[0] = dataclasses.replace(books.results[0], identity=Identity(ENCODER, digest("unknown")))
    lost, faults = books.check()
    assert lost == 1
    assert any("not its own" in fault for fault in faults)


def test_a_second_result_of_a_picture_is_told(books: Books):
    books.results.append(books.results[0])
    lost, [told] = books.check()
    assert lost == 0
    assert "has 2 results" in told


def test_a_result_of_a_picture_nobody_sent_is_told(books: Books):
    strange = books.results[0].meta.model_copy(update={"image_id": "stranger"})
    books.results.append(dataclasses.replace(books.results[0], meta=strange))
    assert books.check() == (0, ["stranger was never sent and has a result"])


def letter_of(position: Position, reason: str):
    message = Message(b"", {}, position, produced=1, fetched=1)
    headers = dead_letter_headers(message, Rejected(reason, "For a test."), attempts=1, failed=2)
    return parse(Position("t.dlq", 0, position.offset), key=None, headers=headers, nbytes=0)


@pytest.fixture
def bad_lot(drawn: list[Drawn]):
    return make_lot("bad", drawn[:2], bad=3)


def test_dead_letters_are_told_apart_by_where_their_messages_lay(bad_lot):
    sent = {Position("t", 0, number): number for number in range(len(bad_lot.parcels))}
    letters = [
        letter_of(Position("t", 0, number), parcel.reason)
        for number, parcel in enumerate(bad_lot.parcels)
        if parcel.meta is None
    ]
    assert check_letters(bad_lot, sent, letters) == (0, 0, [])
    assert check_letters(bad_lot, sent, [*letters, letters[0]])[1] == 1, "one came twice"
    lost, _, [told] = check_letters(bad_lot, sent, letters[1:])
    assert lost == 1
    assert "was not refused" in told


def test_a_wrong_reason_and_a_refused_good_picture_are_told(bad_lot):
    sent = {Position("t", 0, number): number for number in range(len(bad_lot.parcels))}
    letters = [letter_of(Position("t", 0, number), "no-such-reason") for number in range(len(bad_lot.parcels))]
    _, _, faults = check_letters(bad_lot, sent, letters)
    assert sum("instead of" in fault for fault in faults) == 3
    assert sum("a good picture is a dead letter" in fault for fault in faults) == 2


def test_results_flow_again_at_the_end_of_the_longest_silence(books: Books):
    stored = [99.0, 100.2, 100.3, 107.0, 107.5, 108.0]
    results = [
        dataclasses.replace(result, timings=dataclasses.replace(result.timings, stored=at))
        for result, at in zip(books.results, stored, strict=True)
    ]
    assert flows_after(results, 100.0) == pytest.approx(7.0)
    assert flows_after(results, 200.0) is None


@pytest.mark.parametrize("change", [{"lost": 1}, {"conflicts": 1}, {"faults": ("one",)}])
def test_an_account_balances_only_when_nothing_is_wrong(change: dict[str, object]):
    good = Account("name", 6, 0, 0, 3, 1.0, 2.0)
    assert good.balanced
    assert not dataclasses.replace(good, **change).balanced
