"""A loaded Pillow picture -> pixels, under the one policy on alpha and palettes. Knows no format."""

from __future__ import annotations

import numpy as np
from PIL import Image

from eyestream.decoding.refusals import refuse
from eyestream.records import Pixels


def to_pixels(picture: Image.Image) -> Pixels:
    """[height, width, 3] RGB, or [height, width] where the picture is grey.

    An alpha channel that is opaque everywhere is dropped; any other is Rejected, because what lies under it may not be
    what the camera saw.
    """
    if picture.mode in {"La", "RGBa"}:
        picture = picture.convert(picture.mode.upper())
    if picture.mode in {"LA", "RGBA"}:
        if picture.getchannel("A").getextrema() != (255, 255):
            raise refuse("transparent")
        pixels = np.asarray(picture)
        return pixels[..., 0] if picture.mode == "LA" else pixels[..., :3]
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    return np.asarray(picture if picture.mode in {"L", "RGB"} else picture.convert("RGB"))
