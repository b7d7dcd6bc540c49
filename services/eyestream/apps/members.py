"""What the workers of this machine say of themselves: where each leaves its address, and the figures behind it."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True, slots=True)
class Member:
    """One worker; `figures` is None when it left an address and does not answer: it was killed."""

    pid: int
    figures: dict[str, Metric] | None

    @property
    def fates(self) -> Counter[str]:
        """Pictures by what became of them, since this worker started."""
        return Counter({one.labels["fate"]: int(one.value) for one in self._samples("eyestream_pictures", "_total")})

    @property
    def waits_for(self) -> list[str]:
        """Parts that this worker finds away just now."""
        return [sample.labels["part"] for sample in self._samples("eyestream_paused") if sample.value]

    def _samples(self, family: str, suffix: str = "") -> list[Sample]:
        found = (self.figures or {}).get(family)
        return [sample for sample in found.samples if sample.name == family + suffix] if found else []


def members(folder: Path) -> list[Member]:
    """Every worker that left its address in the folder. Blocks for a few seconds at the most."""
    return [_member(file) for file in sorted(folder.glob("*.json"))]


def _member(file: Path) -> Member:
    told = json.loads(file.read_text())
    try:
        with urllib.request.urlopen(told["metrics"], timeout=5) as answer:  # noqa: S310  # our own worker's address
            text = answer.read().decode()
    except OSError:
        return Member(told["pid"], None)
    return Member(told["pid"], {family.name: family for family in text_string_to_metric_families(text)})
