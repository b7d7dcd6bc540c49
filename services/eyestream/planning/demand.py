"""What a programme sends: pictures a day, and how unevenly. Knows no machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`peak_hour_share` of a day's pictures come within its busiest hour, exams of `pictures_per_exam` at once.

    `megapixels` and `megabytes` (10⁶ bytes) are those of one file.
    """

    pictures_per_day: int
    peak_hour_share: float
    megapixels: float
    megabytes: float
    pictures_per_exam: int = 4

    @property
    def peak_per_s(self) -> float:
        """Pictures a second within the busiest hour."""
        return self.pictures_per_day * self.peak_hour_share / HOUR_S

    def exams(self, seconds: float, seed: int) -> Iterator[float]:
        """When exams come, in seconds from the start: as they please (Poisson), at the rate of the busiest hour.

        The same seed gives the same moments.
        """
        random = np.random.default_rng(seed)
        now = 0.0
        while (now := now + random.exponential(self.pictures_per_exam / self.peak_per_s)) < seconds:
            yield now


def usual_megabytes(megapixels: float) -> float:
    """A JPEG of that size at two bits a pixel.

    An assumption on the large side: the drawn eyes of the bench have 0.8, the photograph in examples/ 1.1.
    """
    return megapixels / 4
