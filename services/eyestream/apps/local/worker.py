"""The screening worker as a part of the local stack, with its settings and a bank to begin with."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eyestream.apps import bank
from eyestream.apps.local.base import Command, Endpoints, Part, Place, write_text
from eyestream.banks.base import TextEncoder
from eyestream.banks.build import build
from eyestream.banks.shelf import Shelf
from eyestream.errors import Unavailable

SETTINGS: Final = "settings.toml"
MEMBERS: Final = "members"


class Worker(Part):
    """One `eyestream screening run` over the stack's own Kafka, Triton and Redis.

    The first start builds the banks of `programmes` for the served encoder from its text tower; later ones keep what
    the shelf has, so that a bank of one's own stays in service. Workers given the same `shelf` follow the same banks.
    `changes` are further settings, section by section.
    """

    ready_within_s = 300.0
    stops_within_s = 90.0

    def __init__(
        self,
        *,
        model_repository: Path,
        text_tower: Path | TextEncoder,
        model: str = "eyestream-demo",
        programmes: tuple[str, ...] = ("demo",),
        plain: bool = False,
        changes: Mapping[str, Mapping[str, object]] | None = None,
        name: str = "screening",
        shelf: Path | None = None,
    ) -> None:
        self.name = name
        self._shelf = shelf
        self._repository, self._tower, self._model = model_repository, text_tower, model
        self._programmes, self._plain, self._changes = programmes, plain, changes or {}

    def prepare(self, place: Place) -> None:
        """Write the settings and see that every programme has a bank that fits the encoder."""
        place.runtime.mkdir(parents=True, exist_ok=True)
        write_text(settings_file(place), self._settings(place))
        encoder, preprocessing = bank.served(self._repository, self._model)
        shelf = Shelf(self._shelf_at(place))
        for name in self._programmes:
            programme = bank.read(name)
            current = shelf.current(programme.name)
            if current is not None and current.head.provenance.encoder == encoder:
                continue
            place.say(f"building the bank of {programme.name}")
            tower = bank.tower(self._tower) if isinstance(self._tower, Path) else self._tower
            head = build(programme, tower, encoder_digest=encoder, preprocessing_digest=preprocessing)
            shelf.publish(programme, head)
            shelf.activate(programme.name, head.digest)

    def sweep(self, place: Place) -> None:
        """What a killed worker said of itself is no longer true."""
        _ready_file(place).unlink(missing_ok=True)
        for member in (place.runtime / MEMBERS).glob("*.json"):
            member.unlink()

    def command(self, place: Place) -> Command:
        """The worker's own command line, as a cluster would run it."""
        argv = [sys.executable, "-m", "eyestream", "screening", "run"]
        argv += ["--settings", str(settings_file(place)), "--ready-file", str(_ready_file(place))]
        # The matrix products are small: threads of their own cost four times the processor time they save.
        environment = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "OPENBLAS_NUM_THREADS": "1"}
        inputs = settings_file(place).read_text()
        return Command(argv + (["--plain"] if self._plain else []), environment=environment, inputs=inputs)

    def ready(self, place: Place) -> None:
        """The line runs and answers for its figures."""
        if not _ready_file(place).exists():
            raise Unavailable(self.name, "the line does not run yet")
        members = sorted((place.runtime / MEMBERS).glob("*.json"))
        if not members:
            raise Unavailable(self.name, "no worker says that it runs")
        for member in members:
            address = json.loads(member.read_text())["metrics"]
            try:
                with urllib.request.urlopen(address, timeout=5):  # noqa: S310  # our own worker's address
                    pass
            except OSError as error:
                raise Unavailable(self.name, f"a worker does not answer for its figures: {error}") from error

    def _shelf_at(self, place: Place) -> Path:
        return self._shelf or place.data / "banks"

    def _settings(self, place: Place) -> str:
        at = place.endpoints
        sections: dict[str, dict[str, object]] = {
            "kafka": {"bootstrap": at.kafka},
            "triton": {"address": at.triton_grpc, "model": self._model, "may_reload": True},
            "redis": {"url": at.redis_url},
            "banks": {"shelf": str(self._shelf_at(place))},
            "telemetry": {"members": str(place.runtime / MEMBERS)},
        }
        for section, values in self._changes.items():
            sections[section] = sections.get(section, {}) | dict(values)
        # JSON's strings, numbers, booleans and flat lists are TOML's.
        return "".join(
            f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()) + "\n"
            for section, values in sections.items()
        )


def settings_file(place: Place) -> Path:
    """The TOML file that the worker, and every tool beside it, runs with."""
    return place.runtime / SETTINGS


def settings_of(state: Path, *, name: str = "screening") -> Path:
    """The same, for a stack's state folder. Raises Misconfigured when no stack was started there."""
    Endpoints.read(state)
    return state / "run" / name / SETTINGS


def _ready_file(place: Place) -> Path:
    return place.runtime / "ready"
