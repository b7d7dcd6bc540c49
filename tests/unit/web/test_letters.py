from __future__ import annotations

import pytest

from eyestream.brokers.deadletters import DeadLetter
from eyestream.records import Position
from eyestream.testing.screenings import a_meta


def letter(number, *, reason="truncated", redriven=False, meta=True):
    return DeadLetter(
        position=Position("screening.images.dlq", 0, number),
        original=Position("screening.images", 1, 10 + number),
        reason=reason,
        stage="decoding",
        explanation="The file ends early: send it again.",
        attempts=1,
        produced=1.0,
        failed=1_772_352_000.0 + number,
        key=b"exam-1",
        headers=(("x-patient", b"Ada Example"),),
        nbytes=1000,
        carried=True,
        meta=a_meta(f"img-{number}", f"exam-{number}") if meta else None,
        redrives=0,
        redriven=redriven,
    )


@pytest.fixture
def world(world):
    world.letters.letters = [
        letter(0),
        letter(1, reason="too-many-pixels"),
        letter(2, redriven=True),
        letter(3, meta=False),
        letter(4),
    ]
    return world


def name(number):
    return f"screening.images.dlq/0/{number}"


async def test_dead_letters_are_listed_newest_first_with_their_reasons_counted(world):
    answer = await world.client("boss").get("/v1/dead-letters", params={"limit": 2})
    body = answer.json()
    assert [one["address"] for one in body["letters"]] == [name(4), name(3)]
    assert body["total"] == 5
    assert body["reasons"] == [
        {"reason": "truncated", "stage": "decoding", "count": 4},
        {"reason": "too-many-pixels", "stage": "decoding", "count": 1},
    ]
    world.letters.letters = [*world.letters.letters, letter(5)]
    rest = (await world.client("boss").get("/v1/dead-letters", params={"cursor": body["cursor"]})).json()
    assert [one["address"] for one in rest["letters"]] == [name(2), name(1), name(0)]
    assert rest["cursor"] is None


async def test_a_letter_tells_its_exam_and_nothing_of_the_patient(world):
    answer = await world.client("boss").get("/v1/dead-letters")
    assert answer.json()["letters"][0]["exam_id"] == "exam-4"
    assert answer.json()["letters"][1]["exam_id"] is None
    assert "Ada Example" not in answer.text
    assert "planted" not in answer.text


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({"reason": "too-many-pixels"}, [1]),
        ({"waiting": "true"}, [4, 3, 1, 0]),
        ({"exam": "exam-0"}, [0]),
        ({"site": "south"}, []),
        ({"programme": "diabetic", "stage": "decoding", "waiting": "true"}, [4, 1, 0]),
    ],
)
async def test_filters_narrow_it_down(world, params, numbers):
    answer = await world.client("boss").get("/v1/dead-letters", params=params)
    assert [one["address"] for one in answer.json()["letters"]] == [name(number) for number in numbers]


async def test_a_cursor_whose_letter_is_gone_is_refused(world, is_problem):
    answer = await world.client("boss").get("/v1/dead-letters", params={"cursor": name(99)})
    is_problem(answer, 400, "invalid-cursor")


async def test_letters_are_put_back_once_each_and_each_is_on_record(world):
    body = {"addresses": [name(1), name(3), name(1)], "again": True}
    answer = await world.client("boss").post("/v1/dead-letters/redrives", json=body)
    assert answer.json() == {
        "letters": [{"address": name(1), "fate": "put back"}, {"address": name(3), "fate": "put back"}]
    }
    [(positions, again, dry_run)] = world.letters.asked
    assert ([position.offset for position in positions], again, dry_run) == ([1, 3], True, False)
    entries = await world.entries()
    assert [(one.action, one.exam_id, one.detail) for one in entries] == [
        ("dead-letters.redriven", "", name(3)),
        ("dead-letters.redriven", "exam-1", name(1)),
    ]


async def test_one_unknown_letter_puts_none_back(world, is_problem):
    body = {"addresses": [name(1), name(99)]}
    problem = is_problem(await world.client("boss").post("/v1/dead-letters/redrives", json=body), 404, "unknown-letter")
    assert problem["missing"] == [name(99)]
    assert world.letters.asked == []


@pytest.mark.parametrize(
    "addresses", [[], ["x"], ["t/0/0\n"], ["t/-1/0"], [name(n) for n in range(101)], "t/0/0", None]
)
async def test_what_is_no_address_is_refused(world, is_problem, addresses):
    answer = await world.client("boss").post("/v1/dead-letters/redrives", json={"addresses": addresses})
    is_problem(answer, 422, "invalid-request")
