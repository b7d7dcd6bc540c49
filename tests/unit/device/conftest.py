"""Eyes to send, drawn from a seed, in every format, with a patient's name planted wherever a file can hold one."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from eyestream.device.intake import Origin
from eyestream.device.pseudonym import SiteKey
from eyestream.device.spool import Spool

NAMES = (b"Lindqvist", b"Annika", b"19510412", b"MRN-7788123")
"""What must never leave: family name, given name, date of birth, hospital number."""


@pytest.fixture
def key():
    return SiteKey(bytes(range(32)))


@pytest.fixture
def origin():
    return Origin(site_id="north", device_id="cam-1", programme="demo")


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool" / "spool.db", min_free_bytes=0) as spool:
        yield spool


@pytest.fixture
def names():
    return NAMES


@pytest.fixture
def eye():
    """(seed) -> pixels [48, 64, 3] that no other seed has."""

    def draw(seed=0):
        rows, columns = np.mgrid[:48, :64]
        disc = ((rows - 24) ** 2 + (columns - 32) ** 2 < 22**2)[..., None]
        noise = np.random.default_rng(seed).integers(0, 40, (48, 64, 3))
        return (disc * (np.array([170, 80, 30]) + noise)).astype(np.uint8)

    return draw


@pytest.fixture
def jpeg_of(eye):
    """(seed) -> a JPEG with names in EXIF, XMP, IPTC, a comment, a thumbnail's segment and behind its end."""

    def make(seed=0, *, orientation=6, taken="2024:03:01 10:20:30", **options):
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif[0x010E] = "Lindqvist, Annika"
        exif[0x013B] = "MRN-7788123"
        details = exif.get_ifd(0x8769)
        details[0x9003] = taken
        details[0x9011] = "+02:00"
        details[0x9286] = b"ASCII\0\0\0Lindqvist 19510412"
        out = io.BytesIO()
        Image.fromarray(eye(seed)).save(out, "JPEG", quality=90, exif=exif, comment=b"Annika 19510412", **options)
        data = out.getvalue()
        stories = _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>Lindqvist</x>")
        stories += _segment(0xED, b"Photoshop 3.0\x008BIM Annika Lindqvist")
        stories += _segment(0xE0, b"JFXX\0\x10 Annika")
        stories += _segment(0xE2, b"MPF\0 MRN-7788123")
        stories += _segment(0xEB, b"MRN-7788123")
        return data[:2] + stories + data[2:] + b"\0trailer: Annika Lindqvist 19510412"

    return make


@pytest.fixture
def png_of(eye):
    """(seed) -> a PNG with names in text, EXIF, time, a private chunk, a profile's name and behind its end."""

    def make(seed=0, *, pixels=None):
        out = io.BytesIO()
        Image.fromarray(eye(seed) if pixels is None else pixels).save(out, "PNG")
        data = out.getvalue()
        exif = Image.Exif()
        exif[0x0112] = 8
        exif[0x010E] = "Lindqvist"
        stories = _chunk(b"iCCP", b"Annika Lindqvist\0\0" + zlib.compress(b"profile"))
        stories += _chunk(b"tEXt", b"Patient\0Annika Lindqvist") + _chunk(
            b"tIME", struct.pack(">HBBBBB", 1951, 4, 12, 0, 0, 0)
        )
        stories += _chunk(b"iTXt", b"Comment\0\0\0\0\0MRN-7788123") + _chunk(
            b"zTXt", b"Annika\0\0" + zlib.compress(b"x")
        )
        stories += _chunk(b"eXIf", exif.tobytes()[6:]) + _chunk(b"prVt", b"MRN-7788123")
        return data[:33] + stories + data[33:] + b"Annika Lindqvist"

    return make


@pytest.fixture
def tiff_of(eye):
    """(seed, …) -> a TIFF with a page for each seed and names in its tags."""

    def make(*seeds, compression="tiff_lzw", **options):
        pages = [Image.fromarray(eye(seed)) for seed in seeds or (0,)]
        tags = {270: "Lindqvist, Annika", 315: "MRN-7788123", 274: 3, 305: "Annika 19510412", 33432: "Lindqvist"}
        out = io.BytesIO()
        pages[0].save(
            out,
            "TIFF",
            compression=compression,
            save_all=True,
            append_images=pages[1:],
            tiffinfo=tags,
            description="Lindqvist",
            **options,
        )
        return out.getvalue()

    return make


@pytest.fixture
def dicom_of(eye):
    """(frames, syntax) -> a DICOM file of these encoded frames with names in every place known to hold them."""

    def make(frames=None, syntax=ExplicitVRLittleEndian, *, rows=48, columns=64, colours="RGB", change=None):
        if frames is None:
            frames = [eye(0).tobytes()]
        file = _patient()
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, colours, 0
        file.Rows, file.Columns, file.NumberOfFrames = rows, columns, len(frames)
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
        if syntax == ExplicitVRLittleEndian:
            file.PixelData = b"".join(frames) + b"Annika Lindqvist"
        else:
            file.PixelData = encapsulate(frames)
        file["PixelData"].VR = "OB"
        file["PixelData"].is_undefined_length = syntax != ExplicitVRLittleEndian
        file.file_meta = FileMetaDataset()
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
        file.file_meta.TransferSyntaxUID = syntax
        file.file_meta.SourceApplicationEntityTitle = "LINDQVIST"
        file.preamble = b"Annika Lindqvist 19510412".ljust(128, b"\0")
        if change is not None:
            change(file)
        out = io.BytesIO()
        file.save_as(out, enforce_file_format=True)
        return out.getvalue()

    return make


def _patient():
    file = Dataset()
    file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    file.SOPInstanceUID, file.StudyInstanceUID, file.SeriesInstanceUID = "1.2.3.4", "1.2.3", "1.2.3.5"
    file.Modality, file.ImageLaterality, file.BurnedInAnnotation = "OP", "R", "NO"
    file.AcquisitionDateTime, file.TimezoneOffsetFromUTC = "20240301102030.5", "+0200"
    file.PatientName, file.PatientID, file.PatientBirthDate = "Lindqvist^Annika", "MRN-7788123", "19510412"
    file.OtherPatientNames, file.InstitutionName, file.ImageComments = "Annika", "Lindqvist Eye", "Annika 19510412"
    file.AccessionNumber, file.ManufacturerModelName = "MRN-7788123", "Lindqvist special"
    other = Dataset()
    other.PatientID, other.PatientName = "MRN-7788123", "Lindqvist"
    file.OtherPatientIDsSequence = Sequence([other])
    file.private_block(0x0033, "Lindqvist", create=True).add_new(1, "LO", "Annika")
    file.add_new(0x60003000, "OW", b"Annika Lindqvist")
    file.add_new(0x60000022, "LO", "Lindqvist")
    return file


@pytest.fixture
def jpeg_frame(eye):
    """(seed) -> a frame as a camera puts it into DICOM: a JPEG with a name in a comment."""

    def make(seed=0, **options):
        out = io.BytesIO()
        Image.fromarray(eye(seed)).save(out, "JPEG", comment=b"Annika Lindqvist", **options)
        return out.getvalue()

    return make


@pytest.fixture
def jpeg_dicom(dicom_of, jpeg_frame):
    """(seed, …) -> a DICOM file of JPEG frames."""

    def make(*seeds, **options):
        frames = [jpeg_frame(seed) for seed in seeds or (0,)]
        return dicom_of(frames, JPEGBaseline8Bit, colours="YBR_FULL_422", **options)

    return make


def _segment(marker, body):
    return b"\xff%c" % marker + struct.pack(">H", len(body) + 2) + body


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
