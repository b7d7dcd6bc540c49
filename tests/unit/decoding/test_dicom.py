from __future__ import annotations

import io
import struct

import numpy as np
import pydicom
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from eyestream.decoding import Limits
from eyestream.decoding.dicom import open_dicom
from eyestream.errors import Rejected
from eyestream.testing.badpictures import forge


def written(pixels, *, syntax=ExplicitVRLittleEndian, photometric=None, stored=None, data=None, **more):
    """A file as pydicom writes it, with a name, a nested sequence of undefined length and an overlay group."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        UID("1.2.840.10008.5.1.4.1.1.77.1.5.1"),
        UID("1.2.3"),
    )
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\x00" * 128)
    dataset.PatientName = "Doe^Jane"
    inner = pydicom.Dataset()
    inner.CodeMeaning = "retina"
    outer = pydicom.Dataset()
    outer.AcquisitionDeviceTypeCodeSequence = [inner]
    outer["AcquisitionDeviceTypeCodeSequence"].is_undefined_length = True
    dataset.AcquisitionDeviceTypeCodeSequence = [outer, outer]
    dataset["AcquisitionDeviceTypeCodeSequence"].is_undefined_length = True
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = photometric or ("RGB" if pixels.ndim == 3 else "MONOCHROME2")
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = more.pop("planar", 0)
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = stored or dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    for name, value in more.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes() if data is None else encapsulate(data)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    if data is not None:
        dataset["PixelData"].is_undefined_length = True
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def read(value, eighths=8):
    return open_dicom(value, Limits()).read(eighths)


def reason_of(value):
    with pytest.raises(Rejected) as caught:
        read(value)
    return caught.value.reason


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_uncompressed_colour_is_read(syntax, pattern):
    assert np.array_equal(read(written(pattern, syntax=syntax)), pattern)


def test_planes_are_woven_together(pattern):
    planes = np.ascontiguousarray(pattern.transpose(2, 0, 1))
    value = written(pattern, planar=1).replace(pattern.tobytes(), planes.tobytes())
    assert np.array_equal(read(value), pattern)


def test_luminance_and_chroma_become_rgb(pattern):
    chroma = np.asarray(Image.fromarray(pattern).convert("YCbCr"))
    assert np.abs(read(written(chroma, photometric="YBR_FULL")).astype(int) - pattern).max() <= 3


def test_grey_is_read_and_monochrome1_inverted(pattern):
    grey = np.ascontiguousarray(pattern[..., 0])
    assert np.array_equal(read(written(grey)), grey)
    assert np.array_equal(read(written(grey, photometric="MONOCHROME1")), 255 - grey)


@pytest.mark.parametrize("stored", [10, 12, 16])
def test_deep_grey_is_scaled_by_its_stored_bits(stored):
    deep = np.linspace(0, 2**stored - 1, 64 * 64).reshape(64, 64).astype(np.uint16)
    scaled = read(written(deep, stored=stored))
    assert scaled.dtype == np.uint8
    assert (scaled.min(), scaled.max()) == (0, 255)
    assert np.abs(scaled - deep * 255.0 / (2**stored - 1)).max() <= 0.501


def test_bits_above_the_stored_ones_are_cut_off():
    deep = np.full((64, 64), 0xF800, np.uint16)
    assert (read(written(deep, stored=12)) == round(0x800 * 255 / 0xFFF)).all()


def test_an_encapsulated_jpeg_is_read_at_a_scale(photograph, saved):
    jpeg = saved(photograph, "JPEG", quality=92)
    value = written(photograph, syntax=JPEGBaseline8Bit, photometric="YBR_FULL_422", data=[jpeg])
    source = open_dicom(value, Limits())
    assert source.scales
    assert source.read(2).shape == (306, 408, 3)
    assert np.abs(source.read(8).astype(int) - photograph).mean() < 3


def test_a_frame_in_several_fragments_is_put_together(pattern, saved):
    jpeg = saved(pattern, "JPEG")
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    for part in (jpeg[:1000], jpeg[1000:2000], jpeg[2000:].ljust(len(jpeg[2000:]) + len(jpeg) % 2, b"\x00")):
        items += struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part
    whole = forge.dicom(
        96, 160, jpeg, syntax=JPEGBaseline8Bit, samples=3, photometric=b"YBR_FULL_422", encapsulated=True
    )
    start = whole.index(struct.pack("<HHI", 0xFFFE, 0xE000, 0))
    split = whole[:start] + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    assert np.array_equal(read(split), read(whole))


def test_jpeg_2000_is_read_without_loss(pattern):
    stream = encode_array(pattern, photometric_interpretation=1, use_mct=True)
    value = written(pattern, syntax=JPEG2000Lossless, photometric="YBR_RCT", data=[bytes(stream)])
    assert np.array_equal(read(value), pattern)
    grey = np.ascontiguousarray(pattern[..., 0])
    stream = encode_array(grey, photometric_interpretation=2)
    assert np.array_equal(read(written(grey, syntax=JPEG2000Lossless, data=[bytes(stream)])), grey)


def jpeg2000(pixels, photometric, *, transformed, **more):
    stream = encode_array(pixels, photometric_interpretation=1 if transformed else 3, use_mct=transformed)
    return written(pixels, syntax=JPEG2000Lossless, photometric=photometric, data=[bytes(stream)], **more)


def test_jpeg_2000_in_luminance_and_chroma_becomes_rgb(pattern):
    chroma = np.asarray(Image.fromarray(pattern).convert("YCbCr"))
    assert np.abs(read(jpeg2000(chroma, "YBR_FULL", transformed=False)).astype(int) - pattern).max() <= 3


@pytest.mark.parametrize(
    ("photometric", "transformed", "taken"),
    [
        ("RGB", False, True),
        ("RGB", True, True),
        ("YBR_ICT", True, True),
        ("YBR_FULL", True, False),
        ("YBR_RCT", False, False),
        ("YBR_ICT", False, False),
        ("YBR_FULL_422", True, False),
    ],
)
def test_jpeg_2000_whose_colours_its_file_contradicts_is_refused(photometric, transformed, taken, pattern):
    value = jpeg2000(pattern, photometric, transformed=transformed)
    if taken:
        assert np.array_equal(read(value), pattern)
    else:
        assert reason_of(value) == "unsupported-dicom"


def test_jpeg_2000_of_other_bits_than_its_file_says_is_refused():
    deep = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    stream = bytes(encode_array(deep, photometric_interpretation=2, bits_stored=12))
    options = {"syntax": JPEG2000Lossless, "data": [stream]}
    assert np.abs(read(written(deep, stored=12, **options)) - deep * 255.0 / 4095).max() <= 0.501
    assert reason_of(written(deep, stored=16, **options)) == "damaged"
    assert reason_of(written(deep, stored=10, **options)) == "damaged"


@pytest.fixture(params=["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jls_lossy_sample.dcm"])
def published(request):
    """Colour bars as lossless JPEG and as JPEG-LS, from pydicom's own files."""
    return pydicom.dcmread(get_testdata_file(request.param, download=False))


def saved_again(dataset, **changed):
    for name, value in changed.items():
        setattr(dataset, name, value)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def test_lossless_jpeg_and_jpeg_ls_are_read(published):
    bars = pydicom.dcmread(get_testdata_file("SC_rgb_gdcm_KY.dcm", download=False))
    assert np.abs(read(saved_again(published)).astype(int) - read(saved_again(bars))).max() <= 6


def test_lossless_jpeg_and_jpeg_ls_in_luminance_and_chroma_become_rgb(published):
    chroma = Image.fromarray(read(saved_again(published)), mode="YCbCr")
    as_rgb = read(saved_again(published, PhotometricInterpretation="YBR_FULL"))
    assert np.array_equal(as_rgb, np.asarray(chroma.convert("RGB")))


@pytest.mark.parametrize("changed", [{"PhotometricInterpretation": "YBR_RCT"}, {"Rows": 101}, {"BitsStored": 7}])
def test_lossless_jpeg_and_jpeg_ls_that_their_file_contradicts_are_refused(changed, published):
    expected = "unsupported-dicom" if "PhotometricInterpretation" in changed else "damaged"
    assert reason_of(saved_again(published, **changed)) == expected


def test_samples_that_are_not_described_are_one_and_unsigned(pattern):
    grey = np.ascontiguousarray(pattern[..., 0])
    value = forge.dicom(96, 160, grey.tobytes())
    for number, default in ((0x02, 1), (0x103, 0)):
        described = forge.element(0x28, number, b"US", struct.pack("<H", default))
        assert described in value
        value = value.replace(described, b"")
    assert np.array_equal(read(value), grey)


@pytest.mark.parametrize("frames", ["one", "1A", "-1", "1.0", "\\"])
def test_a_number_of_frames_that_is_none_is_refused(frames):
    claim = forge.element(0x28, 8, b"IS", frames.encode())
    own = forge.element(0x28, 8, b"IS", b"     1")
    value = forge.dicom(64, 64, bytes(64 * 64)).replace(own, claim)
    assert reason_of(value) == "damaged"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_jpeg_2000_that_is_cut_off_is_never_decoded(share, pattern):
    stream = bytes(encode_array(pattern, photometric_interpretation=1, use_mct=True))
    cut = stream[: int(len(stream) * share)]
    value = written(pattern, syntax=JPEG2000Lossless, photometric="YBR_RCT", data=[cut])
    assert reason_of(value) in {"truncated", "damaged"}


def test_jpeg_2000_that_is_cut_off_in_its_header_is_refused(pattern):
    stream = bytes(encode_array(pattern, photometric_interpretation=1, use_mct=True))
    for stop in range(0, 120, 2):
        value = written(pattern, syntax=JPEG2000Lossless, photometric="YBR_RCT", data=[stream[:stop] or b"\x00\x00"])
        assert reason_of(value) in {"truncated", "damaged"}


@pytest.mark.parametrize("at", [8, 12, 40])
def test_jpeg_2000_of_another_size_or_number_of_samples_is_refused(at, pattern):
    stream = bytearray(encode_array(pattern, photometric_interpretation=1, use_mct=True))
    stream[at + 1] += 1
    value = written(pattern, syntax=JPEG2000Lossless, photometric="YBR_RCT", data=[bytes(stream)])
    assert reason_of(value) == "damaged"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
def test_a_file_cut_anywhere_is_never_decoded(share, pattern):
    value = written(pattern)
    assert reason_of(value[: int(len(value) * share)]) == "truncated"


def test_no_orientation_is_invented(pattern):
    source = open_dicom(written(pattern, PatientOrientation=["L", "F"], ImageLaterality="L"), Limits())
    assert source.orientation == 1
    assert np.array_equal(source.read(8), pattern)


def test_a_jpeg_whose_colours_would_be_guessed_is_refused(pattern, saved):
    jpeg = saved(pattern, "JPEG")
    silent = jpeg[:2] + jpeg[2 + 2 + 16 :]
    assert b"JFIF" not in silent
    options = {"syntax": JPEGBaseline8Bit, "samples": 3, "encapsulated": True}
    assert reason_of(forge.dicom(96, 160, silent, photometric=b"RGB", **options)) == "unsupported-dicom"
    ours = read(forge.dicom(96, 160, silent, photometric=b"YBR_FULL_422", **options))
    assert np.array_equal(ours, read(forge.dicom(96, 160, jpeg, photometric=b"RGB", **options)))
