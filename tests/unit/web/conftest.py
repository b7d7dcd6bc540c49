"""The results service over parts in memory, asked over ASGI; what the line stored was really screened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from eyestream.brokers.deadletters import DeadLetter
from eyestream.brokers.redrive import Replay
from eyestream.records import Position
from eyestream.sinks.feed import Cursor, Happening
from eyestream.sinks.memory_readings import MemoryReadings
from eyestream.telemetry import WebMetrics
from eyestream.testing.contracts_readings import WallClock
from eyestream.testing.line import MemoryLine
from eyestream.web.application import create
from eyestream.web.guard import Guard
from eyestream.web.keys import KeyFile, make_key
from eyestream.web.limits import Buckets
from eyestream.web.services import File, House, Services

ROLES = {
    "viewer": ["read"],
    "seer": ["read", "score"],
    "ada": ["read", "decide"],
    "ben": ["read", "decide"],
    "camera": ["score"],
    "boss": ["operate"],
    "all": ["read", "decide", "score", "operate"],
    "here": ["read@demo", "decide@demo", "score@demo", "operate@demo"],
    "elsewhere": ["read@glaucoma", "decide@glaucoma", "score@glaucoma", "operate@glaucoma"],
    "guest": ["read", "decide@glaucoma", "score@glaucoma"],
}


class KnownPictures:
    """Keeps what it is given; `forget` as Kafka's retention does."""

    def __init__(self):
        self.files: dict[str, File] = {}

    async def file(self, screening):
        return self.files.get(screening.meta.image_id)


class ScriptedFeed:
    """A feed of one source that a test writes."""

    def __init__(self):
        self.happenings: list[Happening] = []
        self.begins = 0
        self.looks = 0

    def add(self, *events):
        for event in events:
            self.happenings.append(Happening(0, (len(self.happenings) + 1, 0), event))

    async def sources(self):
        return 1

    async def end(self):
        return Cursor(((len(self.happenings), 0),))

    async def after(self, cursor):
        self.looks += 1
        await asyncio.sleep(0)
        return [one for one in self.happenings if not cursor.covers(one)][:2]

    async def forgotten(self, cursor):
        return cursor.places[0][0] < self.begins


class KnownLetters:
    """Dead letters in a list."""

    def __init__(self):
        self.letters: list[DeadLetter] = []
        self.asked: list[tuple[list[Position], bool, bool]] = []

    async def list(self) -> Sequence[DeadLetter]:
        return self.letters

    async def redrive(self, letters, *, again, dry_run):
        self.asked.append(([letter.position for letter in letters], again, dry_run))
        return [Replay(letter, "put back") for letter in letters]


class NoScorer:
    async def score(self, value, meta, *, content_type):
        raise AssertionError("nobody was to be scored")


class NoExplainer:
    async def seen(self, value, meta, *, side, content_type):
        raise AssertionError("nobody was to be shown")

    async def explain(self, value, meta, *, content_type):
        raise AssertionError("nobody was to be explained")


class World:
    """One service, what lies behind it, and a client for each role."""

    def __init__(self, folder):
        self.clock = WallClock()
        self.line = MemoryLine()
        self.sink = self.line.sink
        self.readings = MemoryReadings(self.sink, clock=self.clock)
        self.feed = ScriptedFeed()
        self.pictures = KnownPictures()
        self.letters = KnownLetters()
        made = {name: make_key(name, scopes) for name, scopes in ROLES.items()}
        self.keys = {name: key for name, (key, _) in made.items()}
        self.key_file = folder / "keys.toml"
        self.key_file.write_text("\n".join(text for _, text in made.values()))
        self.buckets = Buckets(10.0, 10_000, clock=self.clock)
        self.services = Services(
            results=self.sink,
            dossiers=self.readings,
            readings=self.readings,
            audit=self.readings,
            feed=self.feed,
            pictures=self.pictures,
            scorer=NoScorer(),
            explainer=NoExplainer(),
            letters=self.letters,
            waiting=self.count_waiting,
            banks=lambda: self.line.banks,
            guard=Guard(keys=KeyFile(self.key_file, clock=self.clock), issuer=None, requests=self.buckets),
            metrics=WebMetrics(),
            house=House(claim_s=900, poll_s=0.001, counts_s=0.001, heartbeat_s=0.05, max_body_bytes=4096),
            clock=self.clock,
        )
        self.clients: list[httpx.AsyncClient] = []
        self._app: FastAPI | None = None

    async def count_waiting(self) -> int:
        return self.line.unacknowledged()

    @property
    def app(self) -> FastAPI:
        """The application over the services as they are."""
        self._app = self._app or create(self.services)
        return self._app

    def change(self, **changes):
        """Other services from the next client on."""
        self.services = replace(self.services, **changes)
        self._app = None

    def client(self, role: str | None = "all") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.keys[role]}"} if role else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://results", headers=headers)
        self.clients.append(client)
        return client

    async def screen(self, *exams: str, seed: int = 0):
        """Let the line screen two pictures of each exam; what it finds in noise is chance, and the same every time."""
        metas = []
        for number, exam_id in enumerate(exams):
            metas += [self.line.put(seed + 2 * number + eye, exam_id=exam_id) for eye in (0, 1)]
        await self.line.run()
        self.line.start()
        return metas

    async def recorded(self):
        """Who did what, newest first."""
        return [(entry.actor.who, entry.action) for entry in (await self.entries())]

    async def entries(self):
        return (await self.readings.entries(since=0, until=1e12, limit=1000)).entries


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    yield world
    await asyncio.gather(*(client.aclose() for client in world.clients))


def is_problem(answer: httpx.Response, status: int, kind: str) -> dict:
    """The problem, which must be this one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:eyestream:problem:{kind}"
    assert body["status"] == status
    assert body["request"] == answer.headers["x-request-id"]
    return body


@pytest.fixture(name="is_problem")
def is_problem_fixture():
    return is_problem
