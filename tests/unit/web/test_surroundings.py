"""What holds for every request: its id, its headers, its size, its figures, and what is never said."""

from __future__ import annotations

import logging

import httpx
import pytest

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize("path", ["/v1/me", "/v1/exams/exam-9", "/nothing", "/healthz", "/openapi.json"])
async def test_every_answer_keeps_a_browser_from_mistakes(world, path):
    answer = await world.client().get(path)
    assert SECURITY.items() <= dict(answer.headers).items()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("given", "kept"),
    [("trace-7", True), ("a" * 65, False), ("evil\tid", False), ('"><script>', False), ("", False)],
)
async def test_a_requests_id_is_kept_when_it_is_harmless_and_made_otherwise(world, given, kept):
    answer = await world.client().get("/v1/me", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/v1/exams/", 404, "not-found"),
        ("POST", "/v1/me", 405, "method-not-allowed"),
        ("GET", "/v1/exams/" + "x" * 65, 422, "invalid-request"),
        ("GET", "/v1/exams/..%2f..%2fetc", 404, "not-found"),
        ("GET", "/v1/exams/a%00b", 422, "invalid-request"),
        ("GET", "/v1/exams/%ff%fe", 422, "invalid-request"),
        ("GET", "/v1/exams/{}:*", 422, "invalid-request"),
    ],
)
async def test_whatever_is_wrong_is_a_problem(world, is_problem, method, path, status, kind):
    is_problem(await world.client().request(method, path), status, kind)


async def test_a_body_beyond_the_limit_is_refused_by_its_length_and_as_it_comes(world, is_problem):
    client = world.client("ada")

    async def trickle():
        for _ in range(100):
            yield b'{"comment": "' + b"x" * 1000

    for content in (b"x" * 5000, trickle()):
        answer = await client.put("/v1/exams/exam-1/verdict", content=content, headers={"If-Match": '"1.1.1"'})
        is_problem(answer, 413, "too-large")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b"\xff", b'{"outcome": NaN}', b'{"outcome":' * 300, b'{"outcome": 1e999}']
)
async def test_a_body_that_is_no_verdict_is_refused(world, is_problem, content):
    headers = {"If-Match": '"1.1.1"', "Content-Type": "application/json"}
    answer = await world.client("ada").put("/v1/exams/exam-1/verdict", content=content, headers=headers)
    is_problem(answer, 400 if content == b"\xff" else 422, "invalid-request")


async def test_figures_tell_the_route_and_no_id(world):
    await world.screen("exam-1")
    client = world.client()
    await client.get("/v1/exams/exam-1")
    await client.get("/v1/exams/exam-9")
    await client.get("/nothing/like/this")
    value = world.services.metrics.registry.get_sample_value
    route = {"route": "/v1/exams/{exam_id}", "method": "GET"}
    assert value("eyestream_web_requests_total", {**route, "status": "200"}) == 1
    assert value("eyestream_web_requests_total", {**route, "status": "404"}) == 1
    assert value("eyestream_web_requests_total", {"route": "none", "method": "GET", "status": "404"}) == 1
    assert value("eyestream_web_deeds_total", {"action": "exam.viewed"}) == 2
    assert value("eyestream_web_request_seconds_count", {"route": "/v1/exams/{exam_id}"}) == 2


class Broken:
    async def dossier(self, exam_id, entry):
        raise RuntimeError(f"secret {exam_id}")


async def test_a_bug_is_a_problem_that_tells_nothing_and_a_line_in_the_log_without_ids(world, caplog, is_problem):
    world.change(dossiers=Broken())
    with caplog.at_level(logging.INFO):
        answer = await world.client().get("/v1/exams/exam-77?token=sesame")
    is_problem(answer, 500, "failed")
    assert SECURITY.items() <= dict(answer.headers).items()
    assert "secret" not in answer.text
    value = world.services.metrics.registry.get_sample_value
    counted = {"route": "/v1/exams/{exam_id}", "method": "GET", "status": "500"}
    assert value("eyestream_web_requests_total", counted) == 1
    [record] = [record for record in caplog.records if record.name.startswith("eyestream.web")]
    assert (record.route, record.status) == ("/v1/exams/{exam_id}", 500)
    told = [record.getMessage() for record in caplog.records if record.name != "httpx"]
    assert not [text for text in told if "exam-77" in text or "sesame" in text]


async def test_a_bug_still_reaches_the_server_which_writes_it_down(world):
    world.change(dossiers=Broken())
    headers = {"Authorization": f"Bearer {world.keys['all']}"}
    transport = httpx.ASGITransport(world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://results", headers=headers) as client:
        with pytest.raises(RuntimeError, match="secret"):
            await client.get("/v1/exams/exam-77")


async def test_who_hangs_up_while_a_picture_is_sent_is_no_fault_of_the_service(world, caplog):
    told = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])
    authorization = (b"authorization", f"Bearer {world.keys['camera']}".encode())
    request = {"type": "http", "method": "POST", "path": "/v1/scores", "query_string": b"programme=demo"}

    async def receive():
        return next(told)

    async def send(message):
        pass

    with caplog.at_level(logging.INFO):
        await world.app({**request, "headers": [authorization]}, receive, send)
    value = world.services.metrics.registry.get_sample_value
    counted = {"route": "/v1/scores", "method": "POST", "status": "400"}
    assert value("eyestream_web_requests_total", counted) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_subjects_are_in_no_answer_but_fhir_and_in_no_record_and_no_log(world, caplog):
    metas = await world.screen("exam-1", "exam-2")
    subjects = {meta.subject_id for meta in metas}
    client = world.client()
    with caplog.at_level(logging.DEBUG):
        answers = [
            await client.get(path)
            for path in (
                "/v1/exams/exam-1",
                "/v1/programmes/demo/worklist",
                "/v1/audit",
                "/v1/dead-letters",
                f"/v1/exams/exam-1/pictures/{metas[0].image_id}",
            )
        ]
        await client.put("/v1/exams/exam-1/claim")
    told = "".join(answer.text + str(answer.headers) for answer in answers) + caplog.text
    told += "".join(str(entry) for entry in await world.entries())
    assert not [subject for subject in subjects if subject in told]


async def test_alive_asks_nobody_and_ready_asks_redis(world, is_problem):
    from eyestream.errors import Unavailable

    client = world.client(None)
    assert (await client.get("/readyz")).json() == {"status": "ready"}

    async def away():
        raise Unavailable("redis", "told to be away")

    world.feed.end = away  # its `sources` are known by now, as those of any service that has been ready once
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    is_problem(await client.get("/readyz"), 503, "unavailable")
