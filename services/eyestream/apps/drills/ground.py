"""Where drills take place: a stack of their own, workers that come and go, pictures and what each says when alone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from eyestream import records
from eyestream import settings as settings_module
from eyestream.apps.drills.accounts import Alone
from eyestream.apps.drills.pictures import Drawn, draw, parcel_of
from eyestream.apps.kafka import kafka_options
from eyestream.apps.local import Command, Place, Redis, Stack
from eyestream.apps.local.base import Part, Progress, quiet
from eyestream.apps.local.worker import MEMBERS, Worker, settings_of
from eyestream.apps.members import Member, members
from eyestream.banks.base import TextEncoder
from eyestream.banks.shelf import Bank, Shelf
from eyestream.brokers.connection import KafkaOptions
from eyestream.decoding import Limits, Preprocessing
from eyestream.encoders.triton import TritonEncoder
from eyestream.errors import Unavailable
from eyestream.intake import Intake
from eyestream.records import Message, Position, Vectors
from eyestream.settings import Settings
from eyestream.testing.messages import meta_for

SERVE: Final = "screening"
PLAIN: Final = "plain"
SECOND: Final = "second"
Host = Literal["screening", "plain"]
"""A worker in a Ray Serve replica, or in a process of its own."""

_POLL_S: Final = 0.02


class DurableRedis(Redis):
    """A server that has each result on the disk before it answers.

    With `everysec`, the local stack's setting, Redis holds a write back for up to two seconds while an fsync is under
    way, and a kill in that time takes results with it that the line has acknowledged.
    """

    def command(self, place: Place) -> Command:
        """As the local stack's, with an fsync before each answer."""
        usual = super().command(place)
        argv = ["always" if word == "everysec" else word for word in usual.argv]
        return Command(argv, usual.environment, usual.inputs)


class Ground:
    """Kafka, Redis, Triton, and workers of both kinds over them, in one state folder.

    Model and text tower are copied into it: what somebody builds meanwhile must not be served in mid-drill.
    """

    def __init__(
        self,
        state: Path,
        *,
        model_repository: Path,
        model: str,
        text_tower: Path | TextEncoder,
        changes: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self.model = model
        self.store = state.resolve() / "store"
        self.models = state.resolve() / "models"
        self._sources = model_repository, text_tower
        self._tower = state.resolve() / "text_tower" if isinstance(text_tower, Path) else text_tower
        self._host: Host = SERVE
        shelf = state.resolve() / "data" / "banks"
        common = {"pictures": {"references": [f"file://{self.store}"]}, **(changes or {})}

        def worker(name: str, *, plain: bool) -> Worker:
            return Worker(
                model_repository=self.models,
                text_tower=self._tower,
                model=model,
                plain=plain,
                changes=common,
                name=name,
                shelf=shelf,
            )

        workers: list[Part] = [worker(SERVE, plain=False), worker(PLAIN, plain=True), worker(SECOND, plain=True)]
        servers: list[str | Part] = ["kafka", "triton", DurableRedis()]
        self._servers = Stack(state, model_repository=self.models, parts=servers)
        self.stack = Stack(state, model_repository=self.models, parts=[*servers, *workers])
        self.drawn: list[Drawn] = []
        self._embeddings: dict[str, Vectors] = {}
        self._banks: list[Bank] = []

    def up(self, say: Progress = quiet) -> None:
        """Start the servers with nothing in them; workers start with the first scenario that needs them."""
        self._servers.down(say)
        repository, tower = self._sources
        for source, copy in ((repository / self.model, self.models / self.model), (tower, self._tower)):
            if isinstance(source, Path) and isinstance(copy, Path):
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(source, copy)
        self._servers.up(say, fresh=True)
        self.store.mkdir(exist_ok=True)

    def down(self, say: Progress = quiet) -> None:
        """End everything; logs stay."""
        self.stack.down(say)

    @property
    def settings(self) -> Settings:
        """What the workers run with."""
        return settings_module.load(settings_of(self.stack.state, name=self._host))

    @property
    def kafka(self) -> KafkaOptions:
        """The topic and group of the workers."""
        return kafka_options(self.settings.kafka)

    @property
    def shelf(self) -> Shelf:
        """The banks that every worker here follows."""
        return Shelf(self.settings.banks.shelf)

    @property
    def tower(self) -> TextEncoder:
        """The encoder's text tower, to write further banks with."""
        from eyestream.apps import bank

        return bank.tower(self._tower) if isinstance(self._tower, Path) else self._tower

    def host(self, name: Host) -> None:
        """Exactly this worker runs when it returns."""
        for worker in (SERVE, PLAIN, SECOND):
            if worker != name and self.stack.pids(worker):
                self.stack.stop(worker)
        if not self.members(name):
            self.stack.start(name)
        self._host = name
        current = self.shelf.current("demo")
        assert current is not None
        if current.head.digest not in {bank.head.digest for bank in self._banks}:
            self._banks.append(current)

    def members(self, name: str) -> list[Member]:
        """The lines of this worker that answer."""
        return [one for one in members(self._members_folder(name)) if one.figures is not None]

    def pids(self, name: str) -> list[int]:
        """Process ids of the lines that this worker says it has and that live. Quick: it asks nobody."""
        told = [json.loads(file.read_text())["pid"] for file in self._members_folder(name).glob("*.json")]
        return [pid for pid in told if _lives(pid)]

    def log(self, name: str) -> str:
        """Everything a part has said."""
        return self.stack.log(name).read_text(errors="replace")

    def prepare(self, count: int, *, drawn: Callable[[], None] = lambda: None) -> None:
        """Draw so many pictures and learn what each says when it is alone."""
        missing = count - len(self.drawn)
        for number, picture in enumerate(draw(count)):
            if number >= count - missing:
                self.drawn.append(picture)
            drawn()
        asyncio.run(self._encode())

    def take_in(self, bank: Bank) -> None:
        """From now on results of this bank are expected as well."""
        self._banks.append(bank)

    def alias(self, sha256: str, of: str) -> None:
        """A file with other bytes and the same pixels: what `of` says, it says too."""
        self._embeddings[sha256] = self._embeddings[of]

    @property
    def alone(self) -> Alone:
        """What each picture must say."""
        return Alone(self._embeddings, self._banks)

    def wait(self, condition: Callable[[], bool], what: str, *, within_s: float = 120.0) -> None:
        """Until the condition holds; raises Unavailable saying `what` did not happen."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise Unavailable("the drill", f"{what} did not happen within {within_s:.0f} s: see the logs")
            time.sleep(_POLL_S)

    def _members_folder(self, name: str) -> Path:
        return self.stack.state / "run" / name / MEMBERS

    async def _encode(self) -> None:
        encoder = await TritonEncoder.connect(self._servers.endpoints.triton_grpc, self.model)
        try:
            intake = Intake(
                preprocessing=Preprocessing.from_json(encoder.spec.preprocessing),
                height=encoder.spec.height,
                width=encoder.spec.width,
                limits=Limits(),
            )
            for picture in self.drawn:
                if picture.sha256 not in self._embeddings:
                    pixels = intake.capture(_message(picture), {"demo"}).pixels
                    self._embeddings[picture.sha256] = (await encoder.encode(pixels[None]))[0]
        finally:
            await encoder.close()


def _message(picture: Drawn) -> Message:
    parcel = parcel_of(meta_for(picture.value), picture.value, picture.content_type)
    at = records.now()
    return Message(picture.value, dict(parcel.headers), Position("drill", 0, 0), produced=at, fetched=at)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def end(pid: int, number: int) -> None:
    """Send a signal to a process that may just have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
