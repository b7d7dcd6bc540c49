"""The DICOM tags that may leave, and what they mean to us. Whatever is not read here stays in the hospital."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import UID

from eyestream.device.frames import refused
from eyestream.device.pseudonym import SiteKey
from eyestream.records import Laterality, Modality, RetinalField

_NUMBERS: Final = (
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_COLOURS: Final = frozenset(
    {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR"}
)
_PALETTE: Final = tuple(
    f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")
)
_GREY_SCALE: Final = ("WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope")

_OCT_CLASSES: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.77.1.5.{number}" for number in (4, 7, 8))
_WIDE_CLASSES: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.77.1.5.{number}" for number in (5, 6))
_FIELDS: Final[dict[tuple[str, str], RetinalField]] = {
    ("DCM", "111900"): "macula",
    ("DCM", "111901"): "disc",
    ("SCT", "67046006"): "macula",
    ("SCT", "81016008"): "disc",
}
"""Relative image position (CID 4207) and primary anatomic structure (CID 4266)."""
_MOMENT: Final = re.compile(r"(\d{8})(\d{2})(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")


def pixel_description(dataset: Dataset) -> Dataset:
    """How to read the pixels, as a new dataset: numbers made anew from numbers, words only from a closed list."""
    shape = Dataset()
    for name in _NUMBERS:
        setattr(shape, name, int(getattr(dataset, name, 0)))
    shape.PhotometricInterpretation = _one_of(dataset, "PhotometricInterpretation", _COLOURS)
    if shape.BitsAllocated not in (8, 16) or shape.SamplesPerPixel not in (1, 3) or not 0 < shape.BitsStored <= 16:  # noqa: PLR2004
        raise refused("broken-dicom", "The file's samples are not of 8 or 16 bits, one or three a pixel.")
    if shape.SamplesPerPixel > 1:
        shape.PlanarConfiguration = int(dataset.get("PlanarConfiguration") or 0)
    if shape.PhotometricInterpretation == "PALETTE COLOR":
        for name in _PALETTE:
            value = dataset[name].value
            setattr(shape, name, bytes(value)[: 2 * 65536] if name.endswith("Data") else [int(n) for n in value])
    for name in _GREY_SCALE:
        number = _number(dataset.get(name))
        if number is not None and shape.SamplesPerPixel == 1:
            setattr(shape, name, f"{number:.10g}")
    return shape


def what_it_says(dataset: Dataset, key: SiteKey, *, namespace: str) -> dict[str, Any]:
    """The fields of a `Frame` that all of the file's frames share; study and patient as pseudonyms."""
    exam = str(dataset.get("StudyInstanceUID") or "") or str(dataset.get("AccessionNumber") or "")
    patient = str(dataset.get("PatientID") or "")
    return {
        "captured_at": _captured_at(dataset),
        "modality": _modality(dataset),
        "field": _field(dataset),
        "exam_id": key.exam(exam, namespace=namespace) if exam.strip() else None,
        "subject_id": key.subject(patient, namespace=namespace) if patient.strip() else None,
    }


def laterality(dataset: Dataset, index: int) -> Laterality | None:
    """The eye of the frame: the file's own where it names one, else the frame's. None when nothing does."""
    eye = _eye(dataset.get("ImageLaterality")) or _eye(dataset.get("Laterality"))
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    groups += list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1]
    for group in groups:
        for anatomy in group.get("FrameAnatomySequence") or []:
            eye = eye if eye in ("R", "L") else _eye(anatomy.get("FrameLaterality")) or eye
    return eye


def sop_class(dataset: Dataset) -> str | None:
    """The file's SOP class when DICOM knows it; others could be anybody's text."""
    uid = UID(str(dataset.get("SOPClassUID") or ""))
    return str(uid) if uid.type == "SOP Class" else None


def modality_code(dataset: Dataset) -> str:
    """OPT for tomography, OP for anything else."""
    return "OPT" if _modality(dataset) == "OCT" else "OP"


def _modality(dataset: Dataset) -> Modality | None:
    uid = str(dataset.get("SOPClassUID") or "")
    if uid in _OCT_CLASSES or str(dataset.get("Modality") or "").startswith("OPT"):
        return "OCT"
    return "UWF" if uid in _WIDE_CLASSES else None


def _eye(value: object) -> Laterality | None:
    word = str(value or "").strip().upper()
    if word == "R":
        return "R"
    if word == "L":
        return "L"
    return "U" if word == "B" else None


def _field(dataset: Dataset) -> RetinalField | None:
    for name in ("RelativeImagePositionCodeSequence", "PrimaryAnatomicStructureSequence"):
        for item in dataset.get(name) or []:
            code = (str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeValue") or ""))
            if code in _FIELDS:
                return _FIELDS[code]
    return None


def _captured_at(dataset: Dataset) -> dt.datetime | None:
    """When the picture was taken; a time without a zone is this machine's local time."""
    zone = str(dataset.get("TimezoneOffsetFromUTC") or "").strip()
    moments = [str(dataset.get("AcquisitionDateTime") or "")]
    moments += [
        f"{dataset.get(f'{part}Date') or ''}{dataset.get(f'{part}Time') or ''}"
        for part in ("Acquisition", "Content", "Series", "Study")
    ]
    for text in moments:
        match = _MOMENT.fullmatch(text.strip())
        if match is None:
            continue
        day, hour, minute, second, fraction, own_zone = match.groups()
        digits = f"{day}{hour}{minute or '00'}{second or '00'}{(fraction or '0').ljust(6, '0')}{own_zone or zone}"
        form = "%Y%m%d%H%M%S%f" + ("%z" if own_zone or zone else "")
        try:
            return dt.datetime.strptime(digits, form).astimezone(dt.UTC)
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _one_of(dataset: Dataset, name: str, known: frozenset[str]) -> str:
    word = str(dataset.get(name) or "").strip().upper()
    if word not in known:
        raise refused("broken-dicom", f"The file's {name} is missing or not supported.")
    return word


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
