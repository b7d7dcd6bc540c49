"""The results service as a process over the real line: what it shows is what the line stored."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import redis
from fhir.resources.R4B.bundle import Bundle
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from eyestream import objects
from eyestream.apps.drills import service as processes
from eyestream.apps.drills.ground import PLAIN, Ground
from eyestream.apps.drills.pictures import Parcel, make_lot, parcel_of
from eyestream.records import HEADER_REF
from eyestream.testing.messages import meta_for
from eyestream.testing.redis_server import free_ports

pytestmark = pytest.mark.stack


@dataclass
class Service:
    """One process of the service, with a key for everything."""

    process: subprocess.Popen
    client: httpx.Client
    log: Path
    metrics: str = ""
    exams: list[str] = field(default_factory=list)

    def get(self, path: str, **params: object) -> httpx.Response:
        return self.client.get(path, params=params)


@contextlib.contextmanager
def serving(ground: Ground, folder: Path, *options: str, port: int = 0, **settings: object) -> Iterator[Service]:
    with processes.serving(ground, folder, *options, port=port, **settings) as made:
        headers = {"Authorization": f"Bearer {made.keys['tester']}"}
        with httpx.Client(base_url=made.address, headers=headers, timeout=30) as client:
            yield Service(made.process, client, made.log)


@pytest.fixture(scope="module", autouse=True)
def _running(ground: Ground) -> None:
    ground.prepare(24)
    ground.host(PLAIN)


@pytest.fixture(scope="module")
def service(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(ground, tmp_path_factory.mktemp("web")) as service:
        yield service


def put(ground: Ground, *parcels: Parcel) -> None:
    with KafkaProducer(**ground.kafka.producer_config()) as producer:
        for parcel in parcels:
            producer.send(ground.kafka.topic, key=parcel.key, value=parcel.value, headers=[*parcel.headers]).get(30)


@pytest.fixture(scope="module")
def lot(ground: Ground, service: Service) -> list[Parcel]:
    """Six exams of four pictures, screened."""
    parcels = make_lot(f"web{secrets.token_hex(3)}", ground.drawn, bad=0).parcels
    put(ground, *parcels)
    exams = {parcel.key.decode() for parcel in parcels}
    ground.wait(lambda: all(len(shown(service, exam)) == 4 for exam in exams), "the exams' results")
    return parcels


def shown(service: Service, exam: str) -> list[dict]:
    answer = service.get(f"/v1/exams/{exam}")
    return answer.json()["results"] if answer.status_code == 200 else []


def result_of(service: Service, parcel: Parcel) -> dict:
    [result] = [one for one in shown(service, parcel.meta.exam_id) if one["image_id"] == parcel.meta.image_id]
    return result


def test_an_uploaded_picture_gets_the_digests_and_numbers_that_the_line_stored(service: Service, lot: list[Parcel]):
    for parcel in lot:
        stored = result_of(service, parcel)
        answer = service.client.post(
            "/v1/scores",
            params={"programme": "demo", "laterality": stored["laterality"], "field": stored["field"]},
            content=parcel.value,
            headers={"Content-Type": dict(parcel.headers)["content-type"].decode()},
        )
        assert answer.status_code == 200, answer.text
        scored = answer.json()
        for part in ("digests", "sha256", "ungradable", "findings", "quality"):
            assert scored[part] == stored[part], part


def test_a_heat_map_explains_the_very_numbers_that_the_line_stored(service: Service, lot: list[Parcel]):
    stored = result_of(service, lot[0])
    answer = service.get(f"{stored['picture']}/heatmap")
    assert answer.status_code == 200, answer.text
    heat = answer.json()
    assert heat["as_stored"] is True
    probabilities = {one["condition"]: one["probability"] for one in [*stored["findings"], *stored["quality"]]}
    # The same picture meets another batch, and the engine's last bits may differ with it.
    assert {one["condition"]: one["probability"] for one in heat["maps"]} == pytest.approx(probabilities, abs=1e-3)
    seen = service.get(f"{stored['picture']}/seen")
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/jpeg")


def test_what_waits_in_kafka_is_counted_while_the_workers_are_away(ground: Ground, service: Service, lot: list[Parcel]):
    def line() -> dict:
        answer = service.get("/v1/programmes/demo/line")
        assert answer.status_code == 200, answer.text
        return answer.json()

    ground.wait(lambda: line()["waiting"] == 0, "nothing waits")
    assert {one["stage"] for one in line()["stages"]} >= {"waiting", "decoding", "encoding", "storing", "total"}
    ground.stack.stop(PLAIN)
    try:
        put(ground, *make_lot(f"wait{secrets.token_hex(3)}", ground.drawn, bad=0).parcels[:5])
        ground.wait(lambda: line()["waiting"] == 5, "five pictures wait")
    finally:
        ground.host(PLAIN)
    ground.wait(lambda: line()["waiting"] == 0, "nothing waits again")


def test_the_picture_itself_comes_from_kafka_where_its_result_says_it_lies(service: Service, lot: list[Parcel]):
    for parcel in lot[:5]:
        answer = service.get(result_of(service, parcel)["picture"])
        assert answer.content == parcel.value
        assert answer.headers["content-type"] == dict(parcel.headers)["content-type"].decode()


def test_no_picture_is_in_redis(ground: Ground, service: Service, lot: list[Parcel]):
    with redis.Redis.from_url(ground.settings.redis.url.get_secret_value()) as server:
        held = b"".join(server.dump(key) or b"" for key in server.scan_iter(count=1000))
    for parcel in lot:
        middle = parcel.value[len(parcel.value) // 2 :][:48]
        assert middle not in held
        assert base64.b64encode(middle) not in held
    assert lot[0].meta.image_id.encode() in held


def test_a_picture_by_reference_outlives_its_message_and_one_in_the_message_does_not(ground: Ground, service: Service):
    exam = f"ref{secrets.token_hex(3)}"
    first, second = ground.drawn[0], ground.drawn[1]
    inside = parcel_of(meta_for(first.value, exam_id=exam), first.value, first.content_type)
    reference = objects.put(str(ground.store), second.value, sha256=second.sha256)
    sent = parcel_of(meta_for(second.value, exam_id=exam), b"", second.content_type)
    outside = Parcel(sent.key, b"", (*sent.headers, (HEADER_REF, reference.encode())), meta=sent.meta)
    put(ground, inside, outside)
    ground.wait(lambda: len(shown(service, exam)) == 2, "both results")
    results = {one["image_id"]: one for one in shown(service, exam)}
    paths = [results[parcel.meta.image_id]["picture"] for parcel in (inside, outside)]
    assert [service.get(path).content for path in paths] == [first.value, second.value]

    at = results[inside.meta.image_id]["position"]
    with KafkaProducer(**ground.kafka.producer_config()) as producer:
        end = producer.send(ground.kafka.topic, partition=at["partition"], key=b"x", value=b"x").get(30).offset
    admin = KafkaAdminClient(bootstrap_servers=ground.kafka.bootstrap)
    try:
        admin.delete_records({TopicPartition(ground.kafka.topic, at["partition"]): end})
    finally:
        admin.close()
    gone, kept = (service.get(path) for path in paths)
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:eyestream:problem:picture-gone")
    assert kept.content == second.value


def test_an_exam_is_read_from_the_worklist_to_its_verdict_and_leaves_as_fhir(service: Service, lot: list[Parcel]):
    exams = {parcel.meta.exam_id for parcel in lot}
    listed: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = service.get("/v1/programmes/demo/worklist", **params).json()
        listed += [row["exam_id"] for row in page["exams"]]
        if (cursor := page["cursor"]) is None:
            break
    assert len(listed) == len(set(listed))
    exam = next(name for name in listed if name in exams)
    claim = service.client.put(f"/v1/exams/{exam}/claim")
    assert claim.status_code == 200, claim.text
    verdict = {"outcome": "refer", "urgency": "urgent", "comment": "Seen."}
    urgencies = [step["name"] for step in service.get("/v1/programmes").json()["programmes"][0]["urgencies"]]
    verdict["urgency"] = urgencies[0]
    done = service.client.put(f"/v1/exams/{exam}/verdict", json=verdict, headers={"If-Match": claim.headers["etag"]})
    assert done.status_code == 200, done.text
    again = service.client.put(f"/v1/exams/{exam}/verdict", json=verdict, headers={"If-Match": claim.headers["etag"]})
    assert again.status_code == 412
    rows = service.get("/v1/programmes/demo/worklist", limit=200, which="all").json()["exams"]
    assert exam not in {row["exam_id"] for row in rows}
    report = service.get(f"/v1/exams/{exam}/fhir")
    assert Bundle.model_validate_json(report.content).entry[0].resource.status == "final"
    deeds = service.get("/v1/audit", exam=exam, limit=1000).json()["entries"]
    assert {"exam.claimed", "exam.decided", "exam.exported"} <= {one["action"] for one in deeds}


def events(service: Service, count: int, *, last: str | None = None, begun: threading.Event | None = None):
    """So many events of exams, with the id of each."""
    headers = {"Last-Event-ID": last} if last else {}
    found, identifier, name = [], "", ""
    with service.client.stream("GET", "/v1/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            key, _, value = line.partition(": ")
            if key == "id":
                identifier = value
                if begun is not None:
                    begun.set()
            elif key == "event":
                name = value
            elif key == "data" and name in {"decided", "read"}:
                found.append((identifier, name, json.loads(value)))
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


def test_events_are_followed_live_and_resumed_without_loss(ground: Ground, service: Service):
    name = f"live{secrets.token_hex(3)}"
    parcels = [
        parcel_of(meta_for(one.value, exam_id=f"{name}-{number}"), one.value, one.content_type)
        for number, one in enumerate(ground.drawn[:12])
    ]
    begun, got = threading.Event(), []
    listener = threading.Thread(target=lambda: got.extend(events(service, 12, begun=begun)))
    listener.start()
    assert begun.wait(20)
    put(ground, *parcels)
    listener.join(60)
    assert [one[1] for one in got] == ["decided"] * 12
    assert {one[2]["exam_id"] for one in got} == {parcel.meta.exam_id for parcel in parcels}
    service.client.put(f"/v1/exams/{name}-0/claim")
    rest = events(service, 8, last=got[4][0])
    assert sorted(json.dumps(one[2]) for one in rest[:7]) == sorted(json.dumps(one[2]) for one in got[5:])
    assert (rest[7][1], rest[7][2]["deed"], rest[7][2]["by"]) == ("read", "claimed", "key:tester")


def test_a_dead_letter_is_found_and_put_back_over_http(ground: Ground, service: Service):
    exam = f"dead{secrets.token_hex(3)}"
    drawn = ground.drawn[2]
    put(ground, parcel_of(meta_for(drawn.value, exam_id=exam, programme="nobodys"), drawn.value, drawn.content_type))

    def letters() -> list[dict]:
        return service.get("/v1/dead-letters", exam=exam).json()["letters"]

    ground.wait(lambda: len(letters()) == 1, "the dead letter")
    [letter] = letters()
    assert (letter["reason"], letter["programme"], letter["redriven"]) == ("unknown-programme", "nobodys", False)
    body = {"addresses": [letter["address"]]}
    answer = service.client.post("/v1/dead-letters/redrives", json=body)
    assert answer.json()["letters"] == [{"address": letter["address"], "fate": "put back"}]
    ground.wait(lambda: len(letters()) == 2, "it comes again, for nothing was mended")
    assert [one["redriven"] for one in letters()] == [False, True]
    again = service.client.post("/v1/dead-letters/redrives", json=body)
    assert again.json()["letters"] == [{"address": letter["address"], "fate": "put back before"}]


def test_nothing_that_the_service_logged_or_recorded_names_a_subject(
    ground: Ground, service: Service, lot: list[Parcel]
):
    subjects = {parcel.meta.subject_id for parcel in lot}
    log = service.log.read_text()
    assert "the results service listens" in log
    audit = service.get("/v1/audit", limit=1000)
    assert audit.json()["entries"]
    assert not [subject for subject in subjects if subject in log or subject in audit.text]


def test_while_triton_is_away_results_are_shown_and_scores_asked_to_come_again(
    ground: Ground, service: Service, lot: list[Parcel]
):
    def score() -> httpx.Response:
        return service.client.post("/v1/scores", params={"programme": "demo"}, content=lot[0].value)

    ground.stack.kill("triton")
    try:
        assert shown(service, lot[0].meta.exam_id)
        answer = score()
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:eyestream:problem:unavailable")
        assert answer.headers["retry-after"]
    finally:
        ground.stack.start("triton")
    ground.wait(lambda: score().status_code == 200, "scoring again", within_s=30)


def test_several_processes_share_a_port_and_end_in_order_though_a_client_follows_events(
    ground: Ground, lot: list[Parcel], tmp_path: Path
):
    with serving(ground, tmp_path, processes=2) as service:
        answers = [service.get("/v1/me").status_code for _ in range(20)]
        assert answers == [200] * 20
        children = children_of(service)
        assert len(children) == 1
        with service.client.stream("GET", "/v1/events") as stream:
            next(stream.iter_lines())
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(20) == 0
        assert not Path(f"/proc/{children[0]}").exists()


def children_of(service: Service) -> list[str]:
    told = subprocess.run(["pgrep", "-P", str(service.process.pid)], capture_output=True, text=True, check=True)
    return told.stdout.split()


def test_a_killed_service_leaves_no_process_behind_on_its_port(ground: Ground, tmp_path: Path):
    with serving(ground, tmp_path, processes=2) as service:
        [child] = children_of(service)
        service.process.kill()
        ground.wait(lambda: not Path(f"/proc/{child}").exists(), "the other process ends", within_s=20)


def test_a_key_for_one_programme_alone_sees_its_exams_and_the_looks_at_them(
    ground: Ground, lot: list[Parcel], tmp_path: Path
):
    keys = {"here": ["read@demo", "operate@demo"], "elsewhere": ["read@glaucoma", "operate@glaucoma"]}
    assert lot[0].meta is not None
    exam = lot[0].meta.exam_id
    with processes.serving(ground, tmp_path, keys=keys) as made:

        def ask(who: str, path: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {made.keys[who]}"}
            return httpx.get(made.address + path, headers=headers, timeout=30)

        answers = {who: ask(who, f"/v1/exams/{exam}").status_code for who in keys}
        assert answers == {"here": 200, "elsewhere": 404}
        entries = {who: ask(who, f"/v1/audit?exam={exam}&limit=1000").json()["entries"] for who in keys}
        assert ("key:here", "exam.viewed") in {(one["who"], one["action"]) for one in entries["here"]}
        assert entries["elsewhere"] == []


@pytest.mark.serve
def test_ray_serve_hosts_the_same_service(
    ground: Ground, lot: list[Parcel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    port, figures = free_ports(2)
    monkeypatch.setenv("EYESTREAM_TELEMETRY__METRICS_PORT", str(figures))
    with serving(ground, tmp_path, "--serve", port=port) as service:
        answers = [service.get(f"/v1/exams/{parcel.meta.exam_id}") for parcel in lot[::4]]
        assert [answer.status_code for answer in answers] == [200] * 6, answers[0].text
        answer = next(one for one in answers if one.json()["reading"]["state"] == "open")
        exam = answer.json()["exam_id"]
        assert len(answer.json()["results"]) == 4
        # An earlier test let Kafka delete one partition's records, and with them the pictures of the exams there.
        pictures = {service.get(answer.json()["results"][0]["picture"]).status_code for answer in answers}
        assert 200 in pictures
        assert pictures <= {200, 410}
        assert service.client.put(f"/v1/exams/{exam}/claim").status_code == 200
        start = next(one for one in _ids(service))
        assert service.client.delete(f"/v1/exams/{exam}/claim").status_code == 200
        [(_, name, event)] = events(service, 1, last=start)
        assert (name, event["deed"]) == ("read", "released")
        told = httpx.get(f"http://127.0.0.1:{figures}/metrics").text
        counted = 'eyestream_web_requests_total{method="GET",route="/v1/exams/{exam_id}",status="200"} 6.0'
        assert counted in told.splitlines()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0


def _ids(service: Service) -> Iterator[str]:
    with service.client.stream("GET", "/v1/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("id: "):
                yield line.removeprefix("id: ")
