"""What is done to a picture between its decoder and the encoder's input, as data. Knows neither files nor pixels.

Size, normalisation and layout are not here: the size is the encoder's, the other two live inside its engine.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eyestream.errors import Misconfigured
from eyestream.records import Digest, digest

Channel = Annotated[int, Field(ge=0, le=255)]


class Preprocessing(BaseModel):
    """The steps, in their order; every field has the value of the plainest encoder as its default.

    `crop`: `none`, or `field-of-view`: the bounding box of the camera's round (or cut) field, the whole picture where
    no field is found.
    `shape`: how that becomes the encoder's height and width.
      `squash`              both sides are resized, the aspect is not kept (RET-CLIP, VisionFM, DERETFound, DINORET)
      `shortest-side-crop`  cover the input, then cut the middle out (RETFound, EyeCLIP, UrFound)
      `longest-side-pad`    fit into the input, fill on the right and below (FLAIR)
      `pad-square`          fill evenly on both sides to the input's aspect, then resize
    `crop_ratio`: for `shortest-side-crop`, how much of the resized shorter side remains (RETFound: 0.875).
    `interpolation` and `antialias`: with antialias the kernel widens as the picture shrinks, as Pillow does; without
    it, two or four neighbours are sampled, as `torch.nn.functional.interpolate` does by default.
    `colour`: `grey` gives three equal channels of luma (RETFiner); `stretched-hsv` hue, saturation and value of the
      whole picture after its contrast was raised, before anything is cut or resized (VisionUnite).
    `fill`: the colour of what is filled, RGB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: Literal["none", "field-of-view"] = "none"
    shape: Literal["squash", "shortest-side-crop", "longest-side-pad", "pad-square"] = "squash"
    crop_ratio: Annotated[float, Field(ge=0.25, le=1, allow_inf_nan=False)] = 1.0
    interpolation: Literal["bicubic", "bilinear", "area", "lanczos"] = "bicubic"
    antialias: bool = True
    colour: Literal["rgb", "grey", "stretched-hsv"] = "rgb"
    fill: tuple[Channel, Channel, Channel] = (0, 0, 0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.antialias and self.interpolation not in {"bicubic", "bilinear"}:
            raise ValueError(f"{self.interpolation} is always antialiased")
        if self.crop_ratio != 1.0 and self.shape != "shortest-side-crop":
            raise ValueError("crop_ratio belongs to shape shortest-side-crop")
        return self

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read what `to_json` wrote, or an encoder's own file; unknown keys and wrong types are Misconfigured."""
        try:
            return cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors()
            )
            raise Misconfigured(f"The encoder's preprocessing cannot be read: {faults}") from None

    def to_json(self) -> str:
        """One line, keys sorted, every field written out: equal preprocessings give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> Digest:
        """The digest that every result carries; it changes with any field."""
        return digest("preprocessing", self.to_json())
