"""The description a stranger works from: complete, and what really happens."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.specs.openapi import checks

from eyestream.testing.contracts_readings import ADA
from eyestream.testing.messages import png
from eyestream.web.services import File


def test_every_operation_says_what_it_is_for_who_may_and_how_it_fails(world):
    document = world.app.openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["description"].endswith("."), where
            assert operation["tags"], where
            if operation["tags"] == ["health"]:
                continue
            assert operation["security"][0]["bearer"] or path == "/v1/me", where
            for status in ("400", "401", "403", "422", "429", "503"):
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"], where


def test_every_field_that_does_not_speak_for_itself_is_explained(world):
    models = world.app.openapi()["components"]["schemas"]
    assert "HTTPValidationError" not in models
    assert all(model.get("description") for model in models.values())


def test_every_reference_in_the_description_leads_somewhere(world):
    text = json.dumps(world.app.openapi())
    models = world.app.openapi()["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) <= models.keys()


@pytest.fixture
def stocked(world):
    """Something behind each route, with ids that the description's examples do not know."""

    async def stock():
        metas = await world.screen("exam-1", "exam-2")
        world.pictures.files[metas[0].image_id] = File(png(0), "image/png", "png")
        await world.readings.claim("exam-2", ADA, for_s=900)

    asyncio.run(stock())
    return world


CHECKS = (
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    schemathesis.checks.not_a_server_error,
)


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
def test_whatever_is_asked_the_answer_is_one_that_the_description_foresees(stocked, mode):
    stocked.change(house=dataclasses.replace(stocked.services.house, stream_s=0.0, heartbeat_s=0.001))
    schema = schemathesis.openapi.from_asgi("/openapi.json", stocked.app)
    headers = {"Authorization": f"Bearer {stocked.keys['all']}"}
    asked: dict[int, int] = {}
    for result in schema.exclude(path="/v1/scores").get_all_operations():
        operation = result.ok()

        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=6,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case):
            number = sum(asked.values())
            if number % 2 and "exam_id" in case.path_parameters:
                case.path_parameters["exam_id"] = "exam-1"
            answer = case.call_and_validate(headers=headers, checks=CHECKS)
            asked[answer.status_code] = asked.get(answer.status_code, 0) + 1

        if operation.body or any(operation.iter_parameters()) or mode.is_positive:
            ask()
    assert sum(asked.values()) > 60
    assert {200, 404} <= asked.keys() if mode.is_positive else asked.keys() >= {422}
