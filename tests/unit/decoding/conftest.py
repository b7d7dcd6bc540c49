"""Pictures that the decoding tests share: rendered once, seeded."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyestream.testing.eyes import Eye, render


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A rendered fundus photograph of two megapixels."""
    return render(Eye(findings=frozenset({"haemorrhages", "exudates"})), 11, (1224, 1632))


@pytest.fixture(scope="session")
def pattern() -> np.ndarray:
    """A small smooth picture without any symmetry."""
    coarse = np.random.default_rng(5).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((160, 96), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def saved() -> Callable[..., bytes]:
    def save(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        out = io.BytesIO()
        picture.save(out, kind, **options)
        return out.getvalue()

    return save
