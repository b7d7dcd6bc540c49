"""DICOM without its patients: what leaves is built anew from an allow-list, never the hospital's file minus parts.

A frame that is a plain JPEG leaves as that JPEG, any other as a DICOM file of one frame that holds pixels, how to read
them, laterality and modality. Compressed frames are copied, not decoded. Nothing here knows the spool or Kafka.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom import Dataset, config, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from eyestream.device import dicom_tags, jpeg, jpeg2000
from eyestream.device.frames import Frame, check_size, quiet_parsers, refused
from eyestream.device.pseudonym import SiteKey
from eyestream.errors import Rejected
from eyestream.records import Laterality

MAX_FRAMES: Final = 512
CONTENT_TYPE: Final = "application/dicom"
_IMPLEMENTATION: Final = UID("2.25.202811437412041178316063790426325081973")
_NATIVE: Final = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian})
_JPEG_FAMILY: Final = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes}
)
_JPEG2000_FAMILY: Final = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
_EYE_MODALITIES: Final = frozenset({"OP", "OPT", "OPTENF", "OPTBSV", "XC", "SC", "OT", ""})  # codespell:ignore ot
"""Ophthalmic photography and tomography, and what cameras write that know of neither."""


@dataclass(frozen=True, slots=True)
class _File:
    """The hospital's file, how its pixels are read, how they are compressed, and the key for what leaves."""

    dataset: Dataset
    shape: Dataset
    syntax: UID
    key: SiteKey


def is_dicom(data: bytes) -> bool:
    """True for a file with DICOM's preamble."""
    return data[128:132] == b"DICM"


def frames(data: bytes, key: SiteKey, *, namespace: str) -> list[Frame]:
    """Every frame of the file, in order, with study and patient turned into pseudonyms of the namespace.

    Raises Rejected: `burned-in-annotation` (the file says that text is drawn into the picture), `not-an-eye` (another
    modality), `no-pixels`, `too-many-frames`, `too-many-pixels`, `compression-not-supported`, `broken-dicom`.
    """
    with quiet_parsers(), config.disable_value_validation():
        try:
            dataset = dcmread(io.BytesIO(data))
            _check(dataset)
            return list(_frames(dataset, key, namespace))
        except Rejected:
            raise
        except Exception:  # noqa: BLE001 - pydicom meets damaged files with almost any exception, and quotes values
            raise refused("broken-dicom", "The DICOM file is cut or damaged; export it again.") from None


def _check(dataset: Dataset) -> None:
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        text = "The file says that text is drawn into its pixels, which may name the patient; export it without."
        raise refused("burned-in-annotation", text)
    if str(dataset.get("Modality", "")).strip().upper() not in _EYE_MODALITIES:
        raise refused("not-an-eye", "The file's modality is not one of the eye's; was the right folder sent?")
    if "PixelData" not in dataset:
        raise refused("no-pixels", "The DICOM file holds no picture (a report, perhaps); send the pictures.")


def _frames(dataset: Dataset, key: SiteKey, namespace: str) -> Iterator[Frame]:
    file = _File(dataset, dicom_tags.pixel_description(dataset), UID(str(dataset.file_meta.TransferSyntaxUID)), key)
    check_size(int(file.shape.Columns), int(file.shape.Rows))
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= count <= MAX_FRAMES:
        raise refused("too-many-frames", f"The file has more than {MAX_FRAMES} frames, or none.")
    said = dicom_tags.what_it_says(dataset, key, namespace=namespace)
    for index, pixels in enumerate(_pixels(file, count)):
        eye = dicom_tags.laterality(dataset, index)
        body, content_type = _emitted(file, pixels, eye)
        yield Frame(data=body, content_type=content_type, index=index, laterality=eye, **said)


def _pixels(file: _File, count: int) -> Iterator[bytes]:
    """The bytes of each frame, stories taken out."""
    dataset, syntax = file.dataset, file.syntax
    if syntax in _NATIVE:
        yield from _native(dataset.PixelData, file.shape, count)
        return
    if syntax not in _JPEG_FAMILY | _JPEG2000_FAMILY | {RLELossless}:
        text = "Export the file uncompressed or as JPEG, JPEG-LS or JPEG 2000; video is not supported."
        raise refused("compression-not-supported", text)
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    found = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets):
        found += 1
        if syntax in _JPEG_FAMILY:
            yield jpeg.strip(frame).data
        elif syntax in _JPEG2000_FAMILY:
            yield jpeg2000.strip(frame)
        else:
            yield frame
    if found != count:
        raise refused("broken-dicom", "The file has fewer frames than it says; export it again.")


def _native(data: bytes, shape: Dataset, count: int) -> Iterator[bytes]:
    samples = shape.Rows * shape.Columns * shape.SamplesPerPixel
    if shape.PhotometricInterpretation == "YBR_FULL_422":
        samples = samples * 2 // 3
    size = samples * shape.BitsAllocated // 8
    if size * count > len(data):
        raise refused("truncated", "The file has fewer pixels than it says; copy or export it again.")
    # Bits above the stored ones once held overlays, and overlays hold text.
    mask = (1 << shape.BitsStored) - 1 if shape.HighBit == shape.BitsStored - 1 else None
    for index in range(count):
        frame = data[index * size : (index + 1) * size]
        if mask is not None and shape.BitsStored < shape.BitsAllocated and not shape.PixelRepresentation:
            wide = np.frombuffer(frame, "<u2" if shape.BitsAllocated == 16 else "u1")  # noqa: PLR2004
            frame = (wide & wide.dtype.type(mask)).tobytes()
        yield frame


def _emitted(file: _File, pixels: bytes, eye: Laterality | None) -> tuple[bytes, str]:
    if file.syntax in (JPEGBaseline8Bit, JPEGExtended12Bit) and _stands_alone(pixels, file.shape):
        return pixels, "image/jpeg"
    return _written(file, pixels, eye), CONTENT_TYPE


def _stands_alone(pixels: bytes, shape: Dataset) -> bool:
    """True when a JPEG reader who never saw the DICOM file shows the same colours."""
    stream = jpeg.strip(pixels)
    check_size(stream.width, stream.height)
    colours: str = shape.PhotometricInterpretation
    if stream.bits != 8:  # noqa: PLR2004
        return False
    if stream.components == 1:
        return colours == "MONOCHROME2"
    return stream.components == 3 and (colours.startswith("YBR_FULL") or stream.tells_colours)  # noqa: PLR2004


def _written(file: _File, pixels: bytes, eye: Laterality | None) -> bytes:
    """A DICOM file of this one frame that knows no patient."""
    native = file.syntax in _NATIVE
    new = Dataset()
    new.update(file.shape)
    new.SOPClassUID = dicom_tags.sop_class(file.dataset) or SecondaryCaptureImageStorage
    new.SOPInstanceUID = file.key.uid(pixels)
    new.Modality = dicom_tags.modality_code(file.dataset)
    new.PatientIdentityRemoved = "YES"
    if eye in ("R", "L"):
        new.ImageLaterality = eye
    kind = "OW" if native and file.shape.BitsAllocated > 8 else "OB"  # noqa: PLR2004
    new.add_new("PixelData", kind, _body(pixels, native=native))
    new["PixelData"].is_undefined_length = not native
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = new.SOPClassUID
    meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if native else file.syntax
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "EYESTREAM"
    new.file_meta = meta
    out = io.BytesIO()
    dcmwrite(out, new, enforce_file_format=True)
    return out.getvalue()


def _body(pixels: bytes, *, native: bool) -> bytes:
    if native:
        return pixels + b"\0" * (len(pixels) % 2)
    return encapsulate([pixels])
