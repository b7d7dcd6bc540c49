"""Pictures as the engine sees them, and where they say what was found, over the line's own parts in memory."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from eyestream.banks.shelf import Shelf
from eyestream.encoders.fake import FakeEncoder
from eyestream.testing.line import MemoryLine
from eyestream.testing.messages import png
from eyestream.web.engine import EngineRoom
from eyestream.web.explainer import LineExplainer
from eyestream.web.services import File

EXAM = "/v1/exams/exam-1"


@pytest.fixture
async def explaining(world, tmp_path):
    """The service with an explainer over the very encoder of the line, and one exam whose pictures are kept."""
    bank = world.line.banks["demo"]
    world.shelf = Shelf(tmp_path / "shelf")
    world.shelf.publish(bank.programme, bank.head)
    world.shelf.activate("demo", bank.head.digest)

    async def connect():
        return world.line.encoder

    room = EngineRoom(connect, tmp_path / "shelf", limits=world.line.intake.limits)
    world.change(explainer=LineExplainer(room))
    for seed, meta in enumerate(await world.screen("exam-1")):
        world.pictures.files[meta.image_id] = File(png(seed), "image/png", "png")
    world.images = [one["image_id"] for one in (await world.client().get(EXAM)).json()["results"]]
    yield world
    await room.close()


async def heatmap(world, image: str, role: str = "seer"):
    return await world.client(role).get(f"{EXAM}/pictures/{image}/heatmap")


@pytest.mark.parametrize("number", [0.0, np.nan], ids=["zeros", "not-finite"])
async def test_a_picture_of_which_an_engine_says_nothing_has_no_heat_map(explaining, is_problem, monkeypatch, number):
    async def silent(pixels):
        return np.full((len(pixels), explaining.line.encoder.spec.dim), number, np.float32)

    monkeypatch.setattr(explaining.line.encoder, "encode", silent)
    problem = is_problem(await heatmap(explaining, explaining.images[0]), 422, "picture-rejected")
    assert problem["reason"] in {"embedding-without-direction", "embedding-not-finite"}


async def test_a_heat_map_explains_the_very_numbers_that_the_line_stored(explaining):
    results = (await explaining.client().get(EXAM)).json()["results"]
    for result in results:
        answer = await heatmap(explaining, result["image_id"])
        assert answer.status_code == 200, answer.text
        heat = answer.json()
        assert heat["as_stored"] is True
        assert (heat["encoder"], heat["bank"]) == (result["digests"]["encoder"], result["digests"]["bank"])
        stored = {one["condition"]: one["probability"] for one in [*result["findings"], *result["quality"]]}
        assert {one["condition"]: one["probability"] for one in heat["maps"]} == stored
        for one in heat["maps"]:
            assert np.shape(one["values"]) == (16, 16)
            assert np.ptp(one["values"]) > 0


async def test_it_is_made_once_and_goes_into_the_record_each_time(explaining):
    image = explaining.images[0]
    first = await heatmap(explaining, image)
    asked = len(explaining.line.fake.batches)
    second = await heatmap(explaining, image)
    assert len(explaining.line.fake.batches) == asked
    assert first.content == second.content
    assert [action for _, action in await explaining.recorded()].count("picture.explained") == 2


async def test_another_bank_gives_another_map_and_says_that_it_is_not_the_stored_judgement(explaining):
    image = explaining.images[0]
    before = (await heatmap(explaining, image)).json()
    other = explaining.line.bank(seed=5)
    explaining.shelf.publish(other.programme, other.head)
    explaining.shelf.activate("demo", other.head.digest)
    after = (await heatmap(explaining, image)).json()
    assert after["as_stored"] is False
    assert after["bank"] == other.head.digest
    assert after["maps"] != before["maps"]


async def test_what_is_seen_is_a_larger_jpeg_of_the_engines_own_frame(explaining):
    client = explaining.client("viewer")
    answer = await client.get(f"{EXAM}/pictures/{explaining.images[0]}/seen")
    assert answer.headers["content-type"] == "image/jpeg"
    image = Image.open(io.BytesIO(answer.content))
    spec = explaining.line.encoder.spec
    assert min(image.size) >= 768
    assert image.size[0] / image.size[1] == spec.width / spec.height
    larger = await client.get(f"{EXAM}/pictures/{explaining.images[0]}/seen?side=2000")
    assert min(Image.open(io.BytesIO(larger.content)).size) >= 2000
    assert larger.headers["etag"] != answer.headers["etag"]
    again = await client.get(
        f"{EXAM}/pictures/{explaining.images[0]}/seen", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    assert [action for _, action in await explaining.recorded()].count("picture.viewed") == 3


async def test_what_another_engine_sees_is_not_what_a_browser_holds_of_the_last(explaining, tmp_path):
    where = f"{EXAM}/pictures/{explaining.images[0]}/seen"
    before = await explaining.client("viewer").get(where)
    other = MemoryLine(encoder=FakeEncoder(height=16, width=8))
    shelf = Shelf(tmp_path / "another")
    shelf.publish(other.programme, other.banks["demo"].head)
    shelf.activate("demo", other.banks["demo"].head.digest)

    async def connect():
        return other.encoder

    room = EngineRoom(connect, tmp_path / "another", limits=other.intake.limits)
    explaining.change(explainer=LineExplainer(room))
    after = await explaining.client("viewer").get(where, headers={"If-None-Match": before.headers["etag"]})
    await room.close()
    assert after.status_code == 200
    assert Image.open(io.BytesIO(after.content)).size == (768, 1536)


@pytest.mark.parametrize("what", ["seen", "heatmap"])
async def test_a_picture_that_is_gone_or_unknown_is_told(explaining, is_problem, what):
    client = explaining.client("seer")
    is_problem(await client.get(f"{EXAM}/pictures/nobody/{what}"), 404, "unknown-picture")
    explaining.pictures.files.clear()
    is_problem(await client.get(f"{EXAM}/pictures/{explaining.images[0]}/{what}"), 410, "picture-gone")


async def test_a_programme_that_left_service_has_no_heat_maps(explaining, is_problem):
    explaining.change(banks=dict)
    is_problem(await heatmap(explaining, explaining.images[0]), 404, "unknown-programme")


async def test_while_the_engine_is_away_a_caller_is_told_to_come_again(explaining, is_problem):
    explaining.line.fake.unavailable(1)
    is_problem(await heatmap(explaining, explaining.images[0]), 503, "unavailable")
    assert (await heatmap(explaining, explaining.images[0])).status_code == 200


async def test_one_picture_is_explained_at_a_time_and_more_than_five_askers_are_sent_away(explaining, is_problem):
    explaining.line.fake.gate.clear()
    asked = [asyncio.create_task(heatmap(explaining, explaining.images[0])) for _ in range(7)]
    done, rest = set(), set(asked)
    while len(done) < 2:
        more, rest = await asyncio.wait(rest, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert more
        done |= more
    explaining.line.fake.gate.set()
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503] * 2
