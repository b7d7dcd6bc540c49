"""Where `make load` takes place: a stack of its own with the line over it, and the results service where it is read."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from eyestream.apps.local import Command, Part, Place, Stack
from eyestream.apps.local.base import Progress, quiet, write_text
from eyestream.apps.local.worker import Worker, settings_of
from eyestream.errors import Unavailable
from eyestream.web.keys import make_key

_KEYS: Final = 8
"""Readers share so many names: claims of one are taken to another."""


class Web(Part):
    """The results service in a process of its own, with keys for readers."""

    name = "web"
    ports: Sequence[str] = ("web",)
    ready_within_s = 60.0

    def __init__(self, settings: Path) -> None:
        self._settings = settings

    def prepare(self, place: Place) -> None:
        """Make the readers' keys, once."""
        if not _keys(place).exists():
            made = [make_key(f"reader-{number}", ["read", "decide"]) for number in range(_KEYS)]
            write_text(place.data / "keys.toml", "\n".join(entry for _, entry in made))
            write_text(_keys(place), json.dumps([key for key, _ in made]))

    def sweep(self, place: Place) -> None:
        """Where a killed one listened, nobody does."""
        (place.runtime / "ready").unlink(missing_ok=True)

    def command(self, place: Place) -> Command:
        """As anybody would run it; the rates of its limits are those of a reading centre behind one key."""
        argv = [sys.executable, "-m", "eyestream", "web", "run", "--settings", str(self._settings)]
        argv += ["--ready-file", str(place.runtime / "ready")]
        environment = {
            "EYESTREAM_WEB__PORT": str(place.ports["web"]),
            "EYESTREAM_WEB__API_KEYS": str(place.data / "keys.toml"),
            "EYESTREAM_WEB__REQUESTS_PER_S": "1000",
            "EYESTREAM_WEB__BURST": "2000",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return Command(argv, environment)

    def ready(self, place: Place) -> None:
        """It listens."""
        if not (place.runtime / "ready").exists():
            raise Unavailable(self.name, "it does not listen yet")


class Ground:
    """The stack of one load test, in one state folder."""

    def __init__(
        self, state: Path, *, model_repository: Path, model: str, text_tower: Path, plain: bool, readers: bool
    ) -> None:
        worker = Worker(model_repository=model_repository, text_tower=text_tower, model=model, plain=plain)
        self._web = Web(state.resolve() / "run" / worker.name / "settings.toml") if readers else None
        parts: list[str | Part] = ["kafka", "redis", "triton", worker, *([self._web] if self._web else [])]
        self.stack = Stack(state, model_repository=model_repository, parts=parts)
        self.parts = [part if isinstance(part, str) else part.name for part in parts]
        self._tower = text_tower.resolve()

    def up(self, say: Progress = quiet) -> None:
        """Start everything, with nothing left of the last time."""
        self.stack.up(say, fresh=True)

    def down(self, say: Progress = quiet) -> None:
        """End everything; logs stay."""
        self.stack.down(say)

    def environment(self) -> Mapping[str, str]:
        """What points a load test at this stack."""
        told = {"EYESTREAM_SETTINGS": str(settings_of(self.stack.state)), "LOAD_TEXT_TOWER": str(self._tower)}
        if self._web is not None:
            data, runtime = self.stack.state / "data" / "web", self.stack.state / "run" / "web"
            told["LOAD_WEB_URL"] = (runtime / "ready").read_text().strip()
            told["LOAD_WEB_KEY"] = ",".join(json.loads((data / "keys.json").read_text()))
        return told


def _keys(place: Place) -> Path:
    return place.data / "keys.json"
