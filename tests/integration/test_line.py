"""The whole line on real parts, from files a camera left to what a clinician reads; and what must never be read."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, OphthalmicPhotography8BitImageStorage, generate_uid

from eyestream import objects
from eyestream.apps.drills.ground import PLAIN, Ground
from eyestream.apps.drills.pictures import Parcel, good_jpeg, make_lot, parcel_of
from eyestream.apps.drills.run import Run
from eyestream.apps.local.triton import reload
from eyestream.apps.local.worker import settings_of
from eyestream.apps.results_tables import exam_table
from eyestream.banks.build import build
from eyestream.brokers.deadletters import DeadLetter, address
from eyestream.brokers.redrive import read_dead_letters
from eyestream.device.pseudonym import create_key
from eyestream.programmes import Programme
from eyestream.records import HEADER_REF, HEADER_TRACEPARENT, Screening, digest
from eyestream.sinks.base import Exam
from eyestream.sinks.redis_reader import ResultsReader
from eyestream.telemetry import Metrics
from eyestream.testing.badpictures import PLANTED, bad_pictures
from eyestream.testing.eyes import Eye, render
from eyestream.testing.messages import meta_for

pytestmark = pytest.mark.stack

NAMES = ("Zyxwvutsen", "Quorralinde", "19510203-7741", "Doe^Jane", "Jane^19510203", PLANTED)
"""Whatever happens, nobody may read these anywhere behind the device."""
EYESTREAM = [sys.executable, "-m", "eyestream"]


@pytest.fixture(scope="module", autouse=True)
def _running(ground: Ground) -> None:
    ground.prepare(24)
    ground.host(PLAIN)


def ask(ground: Ground, what: str, *arguments: str):
    """One question to the results."""

    async def question():
        reader = ResultsReader(ground.settings.redis.url.get_secret_value())
        try:
            return await getattr(reader, what)(*arguments)
        finally:
            await reader.close()

    return asyncio.run(question())


def screenings(ground: Ground, exam: str) -> list[Screening]:
    return ask(ground, "screenings", exam)


def exam_of(ground: Ground, exam: str) -> Exam | None:
    return ask(ground, "exam", exam)


def letters_of(ground: Ground, exam: str) -> list[DeadLetter]:
    return [one for one in read_dead_letters(ground.kafka) if one.key == exam.encode()]


def put(ground: Ground, parcel: Parcel) -> None:
    with KafkaProducer(**ground.kafka.producer_config()) as producer:
        producer.send(ground.kafka.topic, key=parcel.key, value=parcel.value, headers=[*parcel.headers]).get(timeout=30)


def settings_file(ground: Ground) -> str:
    return str(settings_of(ground.stack.state, name=PLAIN))


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EYESTREAM, *arguments], capture_output=True, text=True, timeout=120, check=False)


@dataclass(frozen=True)
class Clinic:
    """A device that sent a folder in which every file is full of names."""

    folder: Path
    sent: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def clinic(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    pictures = folder / f"{NAMES[0]}-camera"
    pictures.mkdir()
    for number, (eye, field) in enumerate((("R", "macula"), ("R", "disc"), ("L", "macula"))):
        write_jpeg(pictures / f"{NAMES[1]}_E77_{eye}_{field}.jpg", number)
    write_dicom(pictures / "image.dcm", 9)
    create_key(folder / "site.key")
    sent = run_program(
        *("device", "send", str(pictures), "--site", "north-clinic", "--device", "cam-1", "--programme", "demo"),
        *("--pattern", "{subject}_{exam}_{laterality}_{field}", "--plain-exams"),
        *("--kafka", ground.kafka.bootstrap, "--topic", ground.kafka.topic),
        *("--key", str(folder / "site.key"), "--spool", str(folder / "spool.db")),
    )
    return Clinic(folder, sent)


def write_jpeg(path: Path, seed: int) -> None:
    image = Image.fromarray(render(Eye(), seed, size=(240, 320)))
    exif = Image.Exif()
    exif[0x010E] = f"Patient {NAMES[0]}, {NAMES[1]}"  # ImageDescription
    exif[0x013B] = NAMES[0]  # Artist
    exif[0x9286] = f"ID {NAMES[2]}"  # UserComment
    image.save(path, "JPEG", quality=90, exif=exif, comment=f"{NAMES[0]} {NAMES[2]}".encode())


def write_dicom(path: Path, seed: int) -> None:
    pixels = render(Eye("L"), seed, size=(240, 320))
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = OphthalmicPhotography8BitImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.PatientName, file.PatientID, file.PatientBirthDate = f"{NAMES[0]}^{NAMES[1]}", NAMES[2], "19510203"
    file.StudyInstanceUID, file.SeriesInstanceUID = generate_uid(), generate_uid()
    file.StudyDescription = f"follow-up of {NAMES[1]}"
    file.Modality, file.ImageLaterality = "OP", "L"
    file.Rows, file.Columns, file.SamplesPerPixel = *pixels.shape[:2], 3
    file.PhotometricInterpretation, file.PlanarConfiguration = "RGB", 0
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.PixelData = pixels.tobytes()
    dcmwrite(path, file, enforce_file_format=True)


def records_of(ground: Ground, topic: str) -> Iterator:
    """Every record of a topic."""
    with KafkaConsumer(**ground.kafka.consumer_config()) as consumer:
        where = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(where)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(where)
        while any(consumer.position(one) < ends[one] for one in where):
            for batch in consumer.poll(timeout_ms=2000).values():
                yield from batch


def stored_of_clinic(ground: Ground, records: list) -> dict[str, Screening]:
    """Image id → result, of every picture the clinic's device put into Kafka."""
    metas = [json.loads(dict(record.headers)["eyestream-meta"]) for record in records]
    found = [result for exam in {meta["exam_id"] for meta in metas} for result in screenings(ground, exam)]
    return {result.meta.image_id: result for result in found}


@pytest.fixture(scope="module")
def records(ground: Ground, clinic: Clinic) -> list:
    """The clinic's messages, once all of them are stored."""
    assert clinic.sent.returncode == 0, clinic.sent.stderr
    mine = [
        one for one in records_of(ground, ground.kafka.topic) if b"north-clinic" in dict(one.headers)["eyestream-meta"]
    ]
    ground.wait(lambda: len(stored_of_clinic(ground, mine)) == len(mine), "the clinic's results")
    return mine


def test_pictures_travel_from_the_camera_to_a_result_a_clinician_reads(ground: Ground, records: list):
    assert len(records) == 4
    exam = exam_of(ground, "E77")
    assert exam is not None
    assert exam.decision is not None
    assert {picture.laterality for picture in exam.pictures} == {"R", "L"}
    assert exam.decision.eyes.keys() >= {"R", "L"}
    table = exam_table([exam])
    assert table.row_count >= 1
    [other] = {one.meta.exam_id for one in stored_of_clinic(ground, records).values()} - {"E77"}
    assert screenings(ground, other)[0].meta.laterality == "L", "the DICOM file said which eye it is"


def test_a_result_belongs_to_the_trace_that_its_device_began(ground: Ground, records: list):
    stored = stored_of_clinic(ground, records)
    traces = set()
    for record in records:
        headers = dict(record.headers)
        began = headers[HEADER_TRACEPARENT].decode()
        result = stored[json.loads(headers["eyestream-meta"])["image_id"]]
        assert result.traceparent.split("-")[1] == began.split("-")[1]
        assert result.traceparent.split("-")[2] != began.split("-")[2], "the line's span is its own"
        traces.add(began.split("-")[1])
    assert len(traces) == len(records)


def test_a_result_says_when_each_stage_was_done_with_it_and_with_what(ground: Ground, records: list):
    current = ground.shelf.current("demo")
    for result in stored_of_clinic(ground, records).values():
        times = result.timings
        assert times.produced <= times.fetched <= times.decoded <= times.encoded <= times.stored
        assert result.identity.bank == current.head.digest
        assert result.identity.encoder == current.head.provenance.encoder
        assert result.programme == current.programme.digest
        assert (result.meta.site_id, result.meta.device_id) == ("north-clinic", "cam-1")


def texts_behind_the_device(ground: Ground) -> Iterator[tuple[str, bytes]]:
    """Everything that logs, stores, carries or measures, by where it was found."""
    yield "the worker's log", ground.stack.log(PLAIN).read_bytes()
    for member in ground.stack.state.glob(f"run/{PLAIN}/members/*.json"):
        address = json.loads(member.read_text())["metrics"]
        with urllib.request.urlopen(address, timeout=10) as answer:
            yield "the metrics", answer.read()
    server = redis.Redis.from_url(ground.settings.redis.url.get_secret_value())
    for key in server.scan_iter(count=1000):
        yield "a Redis key", key
        kind = server.type(key)
        if kind == b"string":
            yield "a Redis value", server.get(key)
        elif kind == b"hash":
            yield from (("a Redis value", part) for pair in server.hgetall(key).items() for part in pair)
        elif kind == b"zset":
            yield from (("a Redis value", part) for part in server.zrange(key, 0, -1))
        elif kind == b"list":
            yield from (("a Redis value", part) for part in server.lrange(key, 0, -1))
        elif kind == b"stream":
            yield from (("a Redis value", repr(entry).encode()) for entry in server.xrange(key))
        else:
            raise AssertionError(f"nobody looks into a {kind.decode()}")
    server.close()


def test_no_name_from_a_file_is_anywhere_behind_the_device(ground: Ground, clinic: Clinic, records: list):
    files = b"".join(path.read_bytes() + str(path).encode() for path in clinic.folder.rglob("*.*") if path.is_file())
    assert all(name.encode() in files for name in NAMES[:3]), "the names were not in the files to begin with"
    for record in records:
        for where in (record.key, record.value, *(part for _, part in record.headers)):
            assert not [name for name in NAMES if name.encode() in where]
    seen: set[str] = set()
    for where, text in texts_behind_the_device(ground):
        seen.add(where)
        assert not [name for name in NAMES if name.encode() in text], where
    assert {"the worker's log", "the metrics", "a Redis key", "a Redis value"} <= seen


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE eyestream")}


def test_a_worker_serves_the_metrics_that_telemetry_names(ground: Ground):
    from prometheus_client import generate_latest

    [member] = ground.stack.state.glob(f"run/{PLAIN}/members/*.json")
    with urllib.request.urlopen(json.loads(member.read_text())["metrics"], timeout=10) as answer:
        served = families(answer.read().decode())
    assert served == families(generate_latest(Metrics().registry).decode())


def test_status_asks_every_part_and_says_how_it_stands(ground: Ground, records: list):
    told = run_program("status", "--settings", settings_file(ground), "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    parts = {one["part"]: one for one in map(json.loads, told.stdout.splitlines())}
    assert parts.keys() == {"kafka", "triton", "redis", "banks", "workers"}
    assert all(one["well"] for one in parts.values())
    assert re.search(r"\b0 pictures wait", parts["kafka"]["told"])
    assert "trial" in parts["triton"]["told"]
    assert re.search(rf"{ground.pids(PLAIN)[0]}: \d+ stored", parts["workers"]["told"])


def test_status_names_the_part_that_is_away_and_exits_1(ground: Ground):
    ground.stack.kill("triton")
    try:
        told = run_program("status", "--settings", settings_file(ground), "--json")
    finally:
        ground.stack.start("triton")
    parts = {one["part"]: one["well"] for one in map(json.loads, told.stdout.splitlines())}
    assert told.returncode == 1
    assert not parts["triton"]
    assert parts["kafka"]
    assert parts["redis"]


def test_every_kind_of_bad_picture_is_refused_for_its_reason_and_harms_no_other(ground: Ground):
    name = f"bad{secrets.token_hex(3)}"
    value = good_jpeg()
    kinds = len(bad_pictures(value, meta_for(value)))
    run = Run(name, ground, make_lot(name, ground.drawn, bad=kinds), mark=name)
    run.send()
    run.settle()
    account = run.account()
    assert kinds >= 40
    assert account.faults == ()
    assert (account.lost, account.conflicts, account.duplicates) == (0, 0, 0)
    assert not [
        text for where, text in texts_behind_the_device(ground) for planted in NAMES if planted.encode() in text
    ]


def test_a_redriven_picture_is_screened_once_its_programme_is_published(ground: Ground):
    exam, programme = f"later-{secrets.token_hex(3)}", f"p{secrets.token_hex(3)}"
    drawn = ground.drawn[0]
    put(ground, parcel_of(meta_for(drawn.value, exam_id=exam, programme=programme), drawn.value, drawn.content_type))
    ground.wait(lambda: len(letters_of(ground, exam)) == 1, "the dead letter")
    [letter] = letters_of(ground, exam)
    assert (letter.reason, letter.stage) == ("unknown-programme", "meta")

    demo = ground.shelf.current("demo")
    parsed = Programme.parse(demo.programme.text.replace('name = "demo"', f'name = "{programme}"', 1))
    origin = demo.head.provenance
    head = build(parsed, ground.tower, encoder_digest=origin.encoder, preprocessing_digest=origin.preprocessing)
    ground.shelf.publish(parsed, head)
    ground.shelf.activate(programme, head.digest)
    ground.wait(lambda: head.digest in ground.log(PLAIN), "the new programme in service")

    told = run_program("redrive", "replay", address(letter.position), "--settings", settings_file(ground))
    assert told.returncode == 0, told.stdout + told.stderr
    ground.wait(lambda: bool(screenings(ground, exam)), "the redriven picture's result")
    [result] = screenings(ground, exam)
    assert result.programme == parsed.digest
    [letter] = letters_of(ground, exam)
    assert letter.redriven


def test_an_exam_forgets_that_a_picture_was_unreadable_once_it_was_redriven(ground: Ground):
    exam = f"mended-{secrets.token_hex(3)}"
    drawn = ground.drawn[1]
    meta = meta_for(drawn.value, exam_id=exam)
    reference = f"file://{ground.store}/{meta.sha256[:2]}/{meta.sha256}"
    other = ground.drawn[2].value
    objects.put(str(ground.store), other, sha256=hashlib.sha256(other).hexdigest())  # an empty store counts as away
    whole = parcel_of(meta, b"", drawn.content_type)
    put(ground, Parcel(whole.key, b"", (*whole.headers, (HEADER_REF, reference.encode())), meta))
    ground.wait(lambda: exam_of(ground, exam) is not None, "the exam that shows an unreadable picture")
    noted = exam_of(ground, exam)
    assert [note.reason for note in noted.unreadable] == ["reference-missing"]
    assert noted.decision.outcome != "clear"

    assert objects.put(str(ground.store), drawn.value, sha256=meta.sha256) == reference
    [letter] = letters_of(ground, exam)
    told = run_program("redrive", "replay", address(letter.position), "--settings", settings_file(ground))
    assert told.returncode == 0, told.stdout + told.stderr
    ground.wait(lambda: bool(screenings(ground, exam)), "the redriven picture's result")
    mended = exam_of(ground, exam)
    assert mended.unreadable == ()
    assert [picture.unreadable for picture in mended.pictures] == [None]


@pytest.fixture
def foreign(ground: Ground) -> Iterator[str]:
    """The digest of a bank in service that was built for another encoder; the one before serves again afterwards."""
    demo = ground.shelf.current("demo")
    origin = demo.head.provenance
    head = build(
        demo.programme,
        ground.tower,
        encoder_digest=digest("another encoder"),
        preprocessing_digest=origin.preprocessing,
    )
    ground.shelf.publish(demo.programme, head)
    ground.shelf.activate("demo", head.digest)
    yield head.digest
    ground.shelf.activate("demo", demo.head.digest)


def test_a_running_line_keeps_its_bank_when_the_next_is_for_another_encoder(ground: Ground, foreign: str):
    ground.wait(lambda: "built for encoder" in ground.log(PLAIN), "the refusal of the bank")
    exam = f"kept-{secrets.token_hex(3)}"
    drawn = ground.drawn[2]
    put(ground, parcel_of(meta_for(drawn.value, exam_id=exam), drawn.value, drawn.content_type))
    ground.wait(lambda: bool(screenings(ground, exam)), "a result under the old bank")
    [result] = screenings(ground, exam)
    assert result.identity.bank != foreign
    assert ground.alone.belongs(result)


def test_a_worker_does_not_start_with_a_bank_for_another_encoder(ground: Ground, foreign: str, tmp_path: Path):
    settings = tmp_path / "settings.toml"
    settings.write_text(re.sub(r"members = .*", f'members = "{tmp_path}"', Path(settings_file(ground)).read_text()))
    told = run_program("screening", "run", "--plain", "--settings", str(settings))
    assert told.returncode == 1
    assert "was built for encoder" in told.stderr
    assert "build it again" in told.stderr
    assert "Traceback" not in told.stderr
    assert not list(tmp_path.glob("*.json")), "it never joined"


@pytest.fixture
def another_engine(ground: Ground, write_trial: Callable[..., None]) -> Iterator[None]:
    """Triton serves another engine under the same name; the first one again afterwards, and the worker with it."""
    write_trial(ground.models / "trial", "cd" * 32)
    reload(ground.stack.endpoints.triton_grpc, "trial")
    yield
    write_trial(ground.models / "trial")
    reload(ground.stack.endpoints.triton_grpc, "trial")
    ground.stack.start(PLAIN)


def test_a_line_ends_before_it_gives_one_engines_name_to_anothers_results(ground: Ground, another_engine: None):
    exam = f"other-{secrets.token_hex(3)}"
    drawn = ground.drawn[3]
    put(ground, parcel_of(meta_for(drawn.value, exam_id=exam), drawn.value, drawn.content_type))
    ground.wait(lambda: not ground.pids(PLAIN), "the end of the line")
    assert "Triton now serves trial cdcdcdcdcdcd" in ground.log(PLAIN)
    assert screenings(ground, exam) == []


def test_what_that_line_left_is_screened_by_the_next(ground: Ground):
    [exam] = {one.key.decode() for one in records_of(ground, ground.kafka.topic) if one.key.startswith(b"other-")}
    ground.wait(lambda: bool(screenings(ground, exam)), "the result")
    assert all(ground.alone.belongs(result) for result in screenings(ground, exam))
