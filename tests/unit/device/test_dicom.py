"""DICOM files: what leaves is built from an allow-list, frames are copied, tags say what they say."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.encaps import encapsulate_extended
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence
from pydicom.uid import MPEG2MPML, UID, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from eyestream.device import dicom, jpeg, jpeg2000
from eyestream.errors import Rejected

ALLOWED = {
    "SOPClassUID", "SOPInstanceUID", "Modality", "PatientIdentityRemoved", "ImageLaterality", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelData",
}  # fmt: skip


@pytest.fixture
def read(key):
    return lambda data: dicom.frames(data, key, namespace="north")


@pytest.fixture
def reason(read):
    def of(data):
        with pytest.raises(Rejected) as caught:
            read(data)
        return caught.value.reason

    return of


def parsed(frame):
    return pydicom.dcmread(io.BytesIO(frame.data))


def test_nothing_but_the_allow_list_leaves(read, dicom_of):
    (frame,) = read(dicom_of())
    file = parsed(frame)
    assert {element.keyword for element in file} == ALLOWED
    assert file.preamble == bytes(128)
    assert "SourceApplicationEntityTitle" not in file.file_meta


def test_uids_are_ours_and_the_same_each_time(read, dicom_of):
    first, second = (parsed(read(dicom_of())[0]) for _ in range(2))
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.SOPInstanceUID.startswith("2.25.")
    assert UID(first.SOPInstanceUID).is_valid


def test_the_same_file_gives_the_same_bytes(read, dicom_of):
    assert read(dicom_of())[0].data == read(dicom_of())[0].data


def test_uncompressed_pixels_are_copied(read, dicom_of, eye):
    assert np.array_equal(parsed(read(dicom_of())[0]).pixel_array, eye(0))


def test_each_frame_is_a_picture(read, dicom_of, eye):
    frames = read(dicom_of([eye(seed).tobytes() for seed in range(4)]))
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    for seed, frame in enumerate(frames):
        assert np.array_equal(parsed(frame).pixel_array, eye(seed))
        assert "NumberOfFrames" not in parsed(frame)


def test_a_jpeg_frame_leaves_as_that_jpeg(read, jpeg_dicom, jpeg_frame):
    frames = read(jpeg_dicom(1, 2))
    assert [frame.content_type for frame in frames] == ["image/jpeg", "image/jpeg"]
    assert [frame.data for frame in frames] == [jpeg.strip(jpeg_frame(seed)).data for seed in (1, 2)]


def test_an_extended_offset_table_is_understood(read, dicom_of, jpeg_frame):
    def extend(file):
        data, file.ExtendedOffsetTable, file.ExtendedOffsetTableLengths = encapsulate_extended(
            [jpeg_frame(seed) for seed in (1, 2)]
        )
        file.PixelData = data

    data = dicom_of([b"..", b".."], JPEGBaseline8Bit, colours="YBR_FULL_422", change=extend)
    assert [frame.data for frame in read(data)] == [jpeg.strip(jpeg_frame(seed)).data for seed in (1, 2)]


def test_a_jpeg_that_only_dicom_can_read_stays_in_dicom(read, dicom_of, jpeg_frame, names):
    bare = jpeg_frame(1)
    without_jfif = bare[:2] + bare[bare.index(b"\xff\xdb") :]
    (frame,) = read(dicom_of([without_jfif], JPEGBaseline8Bit, colours="RGB"))
    assert frame.content_type == "application/dicom"
    assert parsed(frame).PhotometricInterpretation == "RGB"
    assert [name for name in names if name in frame.data] == []


def test_run_length_frames_are_copied(read, dicom_of, eye):
    encoded = []
    for seed in (1, 2):
        frame = RLELosslessEncoder.encode(
            eye(seed), rows=48, columns=64, samples_per_pixel=3, photometric_interpretation="RGB", bits_allocated=8,
            bits_stored=8, pixel_representation=0, number_of_frames=1, planar_configuration=0,
        )  # fmt: skip
        encoded.append(frame)
    frames = read(dicom_of(encoded, RLELossless))
    for seed, frame in zip((1, 2), frames, strict=True):
        assert np.array_equal(parsed(frame).pixel_array, eye(seed))


def test_jpeg_2000_frames_are_copied_without_their_comments(read, dicom_of, eye):
    plain = _jpeg2000(eye(3), comment="Annika Lindqvist")
    assert b"Annika" in plain
    (frame,) = read(dicom_of([plain], JPEG2000Lossless, colours="YBR_RCT"))
    assert b"Annika" not in frame.data
    assert np.array_equal(parsed(frame).pixel_array, eye(3))


def test_what_follows_a_jpeg_2000_codestream_is_dropped(eye):
    plain = _jpeg2000(eye(3), comment="x")
    assert len(jpeg2000.strip(plain + b"Annika")) == len(plain)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.99), place=st.floats(0, 0.999), value=st.integers(0, 255))
def test_damaged_jpeg_2000_is_copied_or_refused(eye, cut, place, value):
    data = bytearray(_jpeg2000(eye(4), comment="x"))
    data[int(place * len(data))] = value
    reason = "broken-jpeg2000"
    try:
        assert jpeg2000.strip(bytes(data[int(cut * len(data)) :])).startswith(b"\xff\x4f")
    except Rejected as rejection:
        reason = rejection.reason
    assert reason == "broken-jpeg2000"


def test_the_tags_say_eye_time_exam_and_patient(read, dicom_of, key):
    (frame,) = read(dicom_of())
    assert frame.laterality == "R"
    assert frame.captured_at == dt.datetime(2024, 3, 1, 8, 20, 30, 500_000, dt.UTC)
    assert frame.exam_id == key.exam("1.2.3", namespace="north")
    assert frame.subject_id == key.subject("MRN-7788123", namespace="north")


def test_an_accession_number_is_the_exam_without_a_study(read, dicom_of, key):
    def change(file):
        del file.StudyInstanceUID

    (frame,) = read(dicom_of(change=change))
    assert frame.exam_id == key.exam("MRN-7788123", namespace="north")


def test_silent_tags_say_nothing(read, dicom_of):
    def change(file):
        for name in (
            "StudyInstanceUID", "AccessionNumber", "PatientID", "ImageLaterality", "AcquisitionDateTime",
        ):  # fmt: skip
            delattr(file, name)

    (frame,) = read(dicom_of(change=change))
    said = (frame.exam_id, frame.subject_id, frame.laterality, frame.captured_at, frame.field, frame.modality)
    assert said == (None,) * 6


def test_each_frame_has_its_own_eye(read, dicom_of, eye):
    def change(file):
        del file.ImageLaterality
        file.PerFrameFunctionalGroupsSequence = Sequence([_anatomy("R"), _anatomy("L")])

    frames = read(dicom_of([eye(1).tobytes(), eye(2).tobytes()], change=change))
    assert [frame.laterality for frame in frames] == ["R", "L"]
    assert [parsed(frame).ImageLaterality for frame in frames] == ["R", "L"]


@pytest.mark.parametrize(("code", "field"), [("111900", "macula"), ("111901", "disc"), ("999999", None)])
def test_the_field_is_read_from_its_code(read, dicom_of, code, field):
    def change(file):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", "Annika"
        file.RelativeImagePositionCodeSequence = Sequence([item])

    assert read(dicom_of(change=change))[0].field == field


@pytest.mark.parametrize(("uid", "modality"), [("1.5.5", "UWF"), ("1.5.4", "OCT"), ("1.5.1", None)])
def test_the_class_of_the_file_tells_the_modality(read, dicom_of, uid, modality):
    def change(file):
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.77.{uid}"

    assert read(dicom_of(change=change))[0].modality == modality


def test_overlays_above_the_stored_bits_are_wiped(read, dicom_of):
    deep = np.arange(48 * 64, dtype="<u2").reshape(48, 64) % 4096

    def change(file):
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        del file.PlanarConfiguration
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
        file.PixelData = (deep | 0xA000).tobytes()
        file["PixelData"].VR = "OW"

    (frame,) = read(dicom_of(change=change))
    assert np.array_equal(parsed(frame).pixel_array, deep)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda file: setattr(file, "BurnedInAnnotation", "YES"), "burned-in-annotation"),
        (lambda file: setattr(file, "Modality", "CT"), "not-an-eye"),
        (lambda file: delattr(file, "PixelData"), "no-pixels"),
        (lambda file: setattr(file, "NumberOfFrames", 600), "too-many-frames"),
        (lambda file: setattr(file, "NumberOfFrames", 3), "truncated"),
        (lambda file: setattr(file, "Rows", 0), "no-pixels"),
        (lambda file: (setattr(file, "Rows", 65000), setattr(file, "Columns", 65000)), "too-many-pixels"),
        (lambda file: setattr(file, "PhotometricInterpretation", "ANNIKA"), "broken-dicom"),
        (lambda file: setattr(file, "BitsAllocated", 32), "broken-dicom"),
    ],
)
def test_what_cannot_be_sent_is_refused(reason, dicom_of, change, expected):
    assert reason(dicom_of(change=change)) == expected


def test_video_is_refused_and_nothing_advised_that_the_line_would_refuse(read, dicom_of):
    with pytest.raises(Rejected) as caught:
        read(dicom_of([b"video"], MPEG2MPML))
    assert caught.value.reason == "compression-not-supported"
    assert "RLE" not in caught.value.explanation


def test_a_missing_frame_is_noticed(reason, jpeg_dicom):
    assert reason(jpeg_dicom(1, 2, change=lambda file: setattr(file, "NumberOfFrames", 3))) == "broken-dicom"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_refused(reason, dicom_of, jpeg_dicom, share):
    for data in (dicom_of(), jpeg_dicom(1, 2)):
        assert reason(data[: int(share * len(data))]) in {"broken-dicom", "truncated", "no-pixels"}


def _anatomy(eye):
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = eye
    group.FrameAnatomySequence = Sequence([anatomy])
    return group


def _jpeg2000(pixels, *, comment):
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG2000", no_jp2=True, irreversible=False, mct=1, comment=comment)
    return out.getvalue()
