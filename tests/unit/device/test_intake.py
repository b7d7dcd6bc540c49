"""One file into the spool: named, labelled, never half."""

from __future__ import annotations

import json
import logging
import os

import pytest

from eyestream.decoding.meta import read_meta
from eyestream.device.database import DiskFull
from eyestream.device.intake import Intake
from eyestream.device.labels import Labels, NamePattern
from eyestream.device.spool import Spool
from eyestream.errors import Rejected
from eyestream.records import HEADER_META, now


@pytest.fixture
def intake(spool, key, origin):
    return Intake(spool, key, origin)


@pytest.fixture
def file(tmp_path):
    def write(data, name="image.jpg"):
        path = tmp_path / "camera" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return path

    return write


def waiting(spool):
    return [picture.meta for picture in spool.waiting(limit=100, max_bytes=2**30)]


def test_a_file_becomes_a_picture_with_what_the_device_knows(intake, spool, file, jpeg_of):
    taken = intake.take(file(jpeg_of()))
    (meta,) = waiting(spool)
    assert (taken.new, taken.image_ids) == (1, (meta.image_id,))
    assert (meta.site_id, meta.device_id, meta.programme, meta.modality) == ("north", "cam-1", "demo", "CFP")
    assert (meta.orientation, meta.captured_at.year) == (6, 2024)


def test_a_file_taken_twice_is_one_picture(intake, spool, file, jpeg_of):
    first = intake.take(file(jpeg_of()))
    again = intake.take(file(jpeg_of(), "copy.jpg"))
    assert (again.new, again.image_ids) == (0, first.image_ids)
    assert len(waiting(spool)) == 1


def test_files_that_differ_in_their_stories_alone_are_one_picture(intake, file, jpeg_of):
    assert intake.take(file(jpeg_of(taken="2024:03:01 10:20:30"))).new == 1
    assert intake.take(file(jpeg_of(taken="2024:03:01 10:20:31") + b"more", "copy.jpg")).new == 0


def test_pictures_without_an_exam_are_exams_of_their_own(intake, spool, file, jpeg_of):
    for seed in (1, 2):
        assert not intake.take(file(jpeg_of(seed), f"image_R_{seed}.jpg")).exam_known
    assert len({meta.exam_id for meta in waiting(spool)}) == 2
    assert len({meta.subject_id for meta in waiting(spool)}) == 2


def test_frames_of_a_file_share_its_exam(intake, spool, file, jpeg_dicom):
    taken = intake.take(file(jpeg_dicom(1, 2, 3)))
    assert (taken.new, taken.exam_known) == (3, True)
    (meta,) = waiting(spool)
    assert taken.image_ids[0] == meta.image_id


def test_a_time_the_file_does_not_tell_is_the_files_own(intake, spool, file, png_of):
    intake.take(file(png_of()))
    assert waiting(spool)[0].captured_at.timestamp() == 1_700_000_000


@pytest.mark.parametrize("reset", ["1970:01:01 00:00:01", "1980:01:01 00:00:00", "2107:12:31 23:59:58"])
def test_a_camera_whose_clock_began_anew_is_not_believed_and_its_picture_travels(intake, spool, file, jpeg_of, reset):
    intake.take(file(jpeg_of(taken=reset)))
    (meta,) = waiting(spool)
    assert meta.captured_at.timestamp() == 1_700_000_000
    assert read_meta({HEADER_META: meta.to_header()}) == meta


def test_where_the_file_is_of_the_same_clock_a_picture_was_taken_now(intake, spool, file, jpeg_of):
    path = file(jpeg_of(taken="1980:01:01 00:00:00"))
    os.utime(path, (315_532_800, 315_532_800))
    before = now()
    intake.take(path)
    assert before <= waiting(spool)[0].captured_at.timestamp() <= now()


def test_given_labels_win_and_an_exam_given_travels_as_it_is(spool, key, origin, file, dicom_of):
    given = Labels(exam="E17", subject="4711", field="disc", priority=7)
    Intake(spool, key, origin, given=given).take(file(dicom_of()))
    (meta,) = waiting(spool)
    assert (meta.exam_id, meta.field, meta.priority, meta.laterality) == ("E17", "disc", 7, "R")
    assert meta.subject_id == key.subject("4711", namespace="north")


def test_a_sidecar_wins_over_the_file_and_its_exam_becomes_a_pseudonym(intake, spool, file, dicom_of, key):
    path = file(dicom_of())
    path.with_name(path.name + ".json").write_text(json.dumps({"exam": "E17", "modality": "FFA", "field": "macula"}))
    intake.take(path)
    (meta,) = waiting(spool)
    assert meta.exam_id == key.exam("E17", namespace="north")
    assert (meta.modality, meta.field) == ("FFA", "macula")
    assert meta.subject_id == key.subject("MRN-7788123", namespace="north")


def test_a_name_of_the_pattern_tells_exam_and_eye(spool, key, origin, file, png_of):
    pattern = NamePattern("{exam}_{laterality}_{field}")
    intake = Intake(spool, key, origin, pattern=pattern, plain_exams=True)
    intake.take(file(png_of(), "E17_OS_macula.png"))
    (meta,) = waiting(spool)
    assert (meta.exam_id, meta.laterality, meta.field) == ("E17", "L", "macula")


def test_an_exam_number_that_cannot_travel_is_refused(spool, key, origin, file, png_of):
    intake = Intake(spool, key, origin, pattern=NamePattern("{exam}_{laterality}"), plain_exams=True)
    with pytest.raises(Rejected) as caught:
        intake.take(file(png_of(), "Lindqvist Annika_R.png"))
    assert caught.value.reason == "bad-exam"
    assert "Lindqvist" not in str(caught.value)


def test_a_name_of_bytes_that_are_no_utf_8_tells_its_exam_like_any_other(spool, key, origin, file, png_of):
    intake = Intake(spool, key, origin, pattern=NamePattern("{exam}_{laterality}"))
    first, second = (file(png_of(seed), os.fsdecode(b"M\xfcller_%c.png" % eye)) for seed, eye in ((1, b"R"), (2, b"L")))
    assert intake.take(first).exam_known
    assert intake.take(second).exam_known
    (meta,) = waiting(spool)  # one of each exam
    assert (meta.laterality, spool.depth().waiting) == ("R", 2)


def test_an_exam_of_bytes_that_are_no_utf_8_cannot_travel_as_it_is(spool, key, origin, file, png_of):
    intake = Intake(spool, key, origin, pattern=NamePattern("{exam}_{laterality}"), plain_exams=True)
    with pytest.raises(Rejected, match="characters that cannot travel"):
        intake.take(file(png_of(), os.fsdecode(b"M\xfcller_R.png")))


def test_a_name_with_no_room_for_a_sidecars_has_none(intake, file, png_of):
    assert intake.take(file(png_of(), "a" * 251 + ".png")).new == 1


def test_two_files_of_one_exam_in_one_pattern_are_one_exam(spool, key, origin, file, png_of, jpeg_of):
    intake = Intake(spool, key, origin, pattern=NamePattern("{exam}_{laterality}"))
    right, left = file(png_of(1), "E17_R.png"), file(jpeg_of(2), "E17_L.jpg")
    assert intake.take(right).image_ids != intake.take(left).image_ids
    assert waiting(spool)[0].exam_id == key.exam("E17", namespace="north")
    assert spool.depth().waiting == 2
    assert len(waiting(spool)) == 1, "one exam"


@pytest.mark.parametrize("where", ["given", "sidecar", "name"])
def test_an_eye_that_contradicts_the_file_is_refused(spool, key, origin, file, dicom_of, where):
    path = file(dicom_of(), "E17_L.dcm")
    options = {}
    if where == "given":
        options["given"] = Labels(laterality="L")
    elif where == "name":
        options["pattern"] = NamePattern("{exam}_{laterality}")
    else:
        path.with_name(path.name + ".json").write_text('{"laterality": "L"}')
    with pytest.raises(Rejected) as caught:
        Intake(spool, key, origin, **options).take(path)
    assert caught.value.reason == "laterality-conflict"
    assert waiting(spool) == []


def test_a_guess_does_not_contradict_the_file(intake, spool, file, dicom_of):
    intake.take(file(dicom_of(), "L.dcm"))
    assert waiting(spool)[0].laterality == "R"


def test_a_broken_file_leaves_nothing(intake, spool, file, jpeg_dicom):
    data = jpeg_dicom(1, 2, 3)
    with pytest.raises(Rejected):
        intake.take(file(data[:-400]))
    assert spool.depth().waiting == 0


def test_a_file_above_the_limit_is_not_even_read(spool, key, origin, file):
    with pytest.raises(Rejected) as caught:
        Intake(spool, key, origin, max_file_bytes=10).take(file(b"x" * 11))
    assert caught.value.reason == "too-many-bytes"


def test_a_picture_that_could_never_be_sent_is_refused_now(spool, key, origin, file, jpeg_of):
    with pytest.raises(Rejected) as caught:
        Intake(spool, key, origin, max_picture_bytes=500).take(file(jpeg_of()))
    assert caught.value.reason == "too-many-bytes"


def test_what_a_full_spool_cut_off_comes_with_the_next_try(tmp_path, key, origin, file, dicom_of, eye):
    path = file(dicom_of([eye(seed).tobytes() for seed in range(4)]))
    with Spool(tmp_path / "s.db", max_bytes=25_000, min_free_bytes=0) as small:
        with pytest.raises(DiskFull):
            Intake(small, key, origin).take(path)
        assert small.depth().waiting == 2
    with Spool(tmp_path / "s.db", min_free_bytes=0) as large:
        assert Intake(large, key, origin).take(path).new == 2
        assert large.depth().waiting == 4


@pytest.mark.parametrize("kind", ["jpeg_of", "png_of", "tiff_of", "dicom_of", "jpeg_dicom"])
def test_no_planted_name_reaches_the_disk_or_the_log(request, spool, key, origin, file, names, caplog, kind):
    path = file(request.getfixturevalue(kind)(), "MRN-7788123 Lindqvist_R.jpg")
    caplog.set_level(logging.DEBUG)
    path.with_name(path.name + ".json").write_text('{"subject": "MRN-7788123", "exam": "Annika-19510412"}')
    Intake(spool, key, origin, pattern=NamePattern("{subject}_{laterality}")).take(path)
    written = b"".join(each.read_bytes() for each in spool.path.parent.iterdir())
    headers = [picture.meta.to_header() for picture in spool.waiting(limit=9, max_bytes=2**30)]
    spool.count_refused("truncated")
    for name in names:
        assert name.lower() not in written.lower()
        assert name.lower() not in b"".join(headers).lower()
        assert name.decode().lower() not in caplog.text.lower()
