from __future__ import annotations

import pytest

from eyestream.errors import Misconfigured
from eyestream.web.guard import Guard
from eyestream.web.limits import Buckets

ROUTES = [
    ("GET", "/v1/programmes", "viewer"),
    ("GET", "/v1/programmes/demo/worklist", "viewer"),
    ("GET", "/v1/programmes/demo/counts", "viewer"),
    ("GET", "/v1/programmes/demo/line", "viewer"),
    ("GET", "/v1/exams/exam-1", "viewer"),
    ("GET", "/v1/exams/exam-1/fhir", "viewer"),
    ("GET", "/v1/exams/exam-1/pictures/img-1", "viewer"),
    ("GET", "/v1/exams/exam-1/pictures/img-1/seen", "viewer"),
    ("GET", "/v1/exams/exam-1/pictures/img-1/heatmap", "seer"),
    ("PUT", "/v1/exams/exam-1/claim", "ada"),
    ("DELETE", "/v1/exams/exam-1/claim", "ada"),
    ("PUT", "/v1/exams/exam-1/verdict", "ada"),
    ("DELETE", "/v1/exams/exam-1/verdict", "ada"),
    ("GET", "/v1/events", "viewer"),
    ("POST", "/v1/scores?programme=demo", "camera"),
    ("GET", "/v1/dead-letters", "boss"),
    ("POST", "/v1/dead-letters/redrives", "boss"),
    ("GET", "/v1/audit", "boss"),
]
BODY = {"outcome": "clear", "addresses": ["t/0/0"]}


def test_every_route_is_in_this_list(world):
    described = world.app.openapi()["paths"]
    asked = {(method.upper(), path) for path, methods in described.items() for method in methods}
    listed = {(method, path.partition("?")[0]) for method, path, _ in ROUTES}
    named = {
        (method, path.replace("exam-1", "{exam_id}").replace("img-1", "{image_id}").replace("/demo/", "/{programme}/"))
        for method, path in listed
    }
    assert asked - named == {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/v1/me")}


async def test_without_a_key_nothing_is_answered(world, is_problem):
    client = world.client(None)
    for method, path, _ in ROUTES:
        answer = await client.request(method, path)
        is_problem(answer, 401, "not-authenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="eyestream"'
    assert await world.recorded() == []


async def test_a_key_without_the_scope_is_not_enough(world, is_problem):
    clients = {role: world.client(role) for role in ("viewer", "camera", "boss")}
    for method, path, role in ROUTES:
        for other in clients.keys() - {role}:
            answer = await clients[other].request(method, path)
            is_problem(answer, 403, "not-allowed")
            if role == "ada" and other == "viewer":
                assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="decide"'
    assert await world.recorded() == []


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer esk_aaaaaaaaaaaa_" + "A" * 43,
        "Bearer esk_",
        "Bearer e.y.J",
        "Bearer " + "x" * 9000,
        "bearer \x00",
    ],
)
async def test_what_is_no_key_is_refused(world, is_problem, header):
    answer = await world.client(None).get("/v1/me", headers={"Authorization": header.encode("latin-1")})
    is_problem(answer, 401, "not-authenticated")


async def test_everybody_may_ask_who_they_are(world):
    answer = await world.client("ada").get("/v1/me")
    whom = {"who": "key:ada", "how": "api-key", "scopes": ["read", "decide"], "narrowed": {}, "expires": None}
    assert answer.json() == whom


async def test_one_caller_who_asks_too_often_waits_and_holds_up_nobody_else(world, is_problem):
    world.buckets = Buckets(0.5, 3, clock=world.clock)
    from eyestream.web.keys import KeyFile

    world.change(guard=Guard(keys=KeyFile(world.key_file), issuer=None, requests=world.buckets))
    eager = world.client("viewer")
    assert [(await eager.get("/v1/me")).status_code for _ in range(3)] == [200] * 3
    refused = await eager.get("/v1/me")
    is_problem(refused, 429, "too-many-requests")
    assert refused.headers["retry-after"] == "2"
    assert (await world.client("ada").get("/v1/me")).status_code == 200
    world.clock.step(2)
    assert (await eager.get("/v1/me")).status_code == 200


async def test_a_service_for_trials_lets_anybody_do_anything_and_says_so_in_the_record(world):
    world.change(guard=Guard(keys=None, issuer=None, requests=world.buckets, unprotected=True))
    assert (await world.client(None).get("/v1/programmes/demo/worklist")).status_code == 200
    assert await world.recorded() == [("anybody", "worklist.viewed")]


def test_a_service_that_nobody_could_ask_is_misconfigured(world):
    with pytest.raises(Misconfigured, match="eyestream web key"):
        Guard(keys=None, issuer=None, requests=world.buckets)
    from eyestream.web.keys import KeyFile

    with pytest.raises(Misconfigured, match="beside keys"):
        Guard(keys=KeyFile(world.key_file), issuer=None, requests=world.buckets, unprotected=True)
