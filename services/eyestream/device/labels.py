"""What people say of a picture outside its file: on the command line, in a sidecar, in the file's name.

A label may hold a patient's own number, so labels are never printed. Nothing here knows file formats or the spool.
"""

from __future__ import annotations

import codecs
import dataclasses
import errno
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from eyestream.device.frames import refused
from eyestream.errors import Misconfigured, Rejected
from eyestream.records import EARLIEST_CAPTURE, LATEST_CAPTURE, Laterality, Modality, RetinalField

SIDECAR_MAX_BYTES: Final = 64 * 1024

_EYES: Final[dict[str, Laterality]] = {
    **dict.fromkeys(("r", "od", "re", "right"), "R"),
    **dict.fromkeys(("l", "os", "le", "left"), "L"),
}
_FIELDS: Final[dict[str, RetinalField]] = {
    **dict.fromkeys(("macula", "mac", "fovea"), "macula"),
    **dict.fromkeys(("disc", "disk", "onh", "optic"), "disc"),
}
_HOLES: Final = {
    "exam": r"(?P<exam>.+?)",
    "subject": r"(?P<subject>.+?)",
    "laterality": rf"(?P<laterality>{'|'.join(sorted(_EYES, key=len, reverse=True))})",
    "field": r"(?P<field>[A-Za-z]+)",
    "any": r".*?",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What was said of a picture; None where nothing was. `exam` and `subject` are the hospital's own numbers."""

    exam: str | None = dataclasses.field(default=None, repr=False)
    subject: str | None = dataclasses.field(default=None, repr=False)
    laterality: Laterality | None = None
    field: RetinalField | None = None
    modality: Modality | None = None
    captured_at: AwareDatetime | None = None
    priority: int | None = None


class _Sidecar(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    exam: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    subject: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    laterality: Laterality | None = None
    field: RetinalField | None = None
    modality: Modality | None = None
    captured_at: Annotated[AwareDatetime, Field(ge=EARLIEST_CAPTURE, lt=LATEST_CAPTURE)] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = None


def sidecar_of(path: Path) -> Path:
    """Where the picture's sidecar lies: beside it, with `.json` behind the whole name."""
    return path.with_name(path.name + ".json")


def has_sidecar(path: Path) -> bool:
    """Whether the picture has a sidecar; a name so long that `.json` has no room behind it has none."""
    try:
        return sidecar_of(path).exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def read_sidecar(path: Path) -> Labels:
    """The labels in the picture's sidecar, if it has one. Raises Rejected `bad-sidecar`, naming fields, not values."""
    if not has_sidecar(path):
        return Labels()
    try:
        with sidecar_of(path).open("rb") as file:
            # Programs of Windows put a byte order mark before UTF-8.
            said = _Sidecar.model_validate_json(file.read(SIDECAR_MAX_BYTES).removeprefix(codecs.BOM_UTF8))
    except FileNotFoundError:
        return Labels()
    except ValidationError as error:
        names = sorted(
            {str(part["loc"][0]) for part in error.errors() if part["loc"] and part["type"] != "extra_forbidden"}
        )
        what = f"these fields are wrong: {', '.join(names)}" if names else "it is no JSON object of the known fields"
        fields = ", ".join(_Sidecar.model_fields)
        raise refused("bad-sidecar", f"The picture's sidecar cannot be used: {what}. Known are {fields}.") from None
    return Labels(**said.model_dump())


class NamePattern:
    """How a site names its files: `{exam}_{laterality}_{field}` matches `E17_OD_macula.jpg`.

    Holes are exam, subject, laterality (R, L, OD, OS, right, …), field (macula, disc, …) and any; a pattern without
    laterality or field says nothing of them. Raises Misconfigured for a hole that is not known or is there twice.
    """

    def __init__(self, template: str) -> None:
        pieces = re.split(r"\{([^{}]*)\}", template)
        holes = pieces[1::2]
        unknown = [hole for hole in holes if hole not in _HOLES]
        if unknown or any(holes.count(hole) > 1 for hole in holes if hole != "any"):
            raise Misconfigured(f"a name pattern has each of {{{'}, {'.join(_HOLES)}}} once at most")
        texts = [re.escape(piece) if at % 2 == 0 else _HOLES[piece] for at, piece in enumerate(pieces)]
        self._pattern = re.compile("".join(texts), re.IGNORECASE)

    def read(self, path: Path) -> Labels | None:
        """What the name says, its extension aside; None when it is not of this pattern."""
        match = self._pattern.fullmatch(path.stem)
        if match is None:
            return None
        found = match.groupdict()
        return Labels(
            exam=found.get("exam"),
            subject=found.get("subject"),
            laterality=_EYES.get((found.get("laterality") or "").lower()),
            field=_field(found.get("field")),
        )


def guess(path: Path) -> Labels:
    """What the name of a file without a pattern seems to say of eye and field; never whose it is.

    Whose it is would be a guess that mixes patients up: many cameras write `image_R.jpg` for everyone.
    """
    words = [word.lower() for word in re.split(r"[^A-Za-z]+", path.stem) if word]
    eyes = {_EYES[word] for word in words if word in _EYES}
    fields = {_FIELDS[word] for word in words if word in _FIELDS}
    return Labels(
        laterality=eyes.pop() if len(eyes) == 1 else None,
        field=fields.pop() if len(fields) == 1 else None,
    )


def _field(word: str | None) -> RetinalField | None:
    if word is None:
        return None
    return _FIELDS.get(word.lower(), "other")


def agree_on_eye(*said: Laterality | None) -> Laterality:
    """The eye all sources agree on, U when none names one; raises Rejected `laterality-conflict` when they differ."""
    eyes = {eye for eye in said if eye in ("R", "L")}
    if len(eyes) > 1:
        text = "The file, its name and what was given do not agree which eye this is; find out and mend the wrong one."
        raise Rejected("laterality-conflict", text, stage="device")
    return eyes.pop() if eyes else "U"
