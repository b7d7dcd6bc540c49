"""A clinic's morning on the real line with the demonstration's encoder, and a person with a browser in front of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from kafka import KafkaProducer

from eyestream.apps.demo_pictures import EXAMS, draw, hostile
from eyestream.apps.drills.ground import PLAIN, Ground
from eyestream.apps.drills.pictures import parcel_of
from eyestream.apps.drills.service import Service, serving
from eyestream.apps.local.chromium import FLAGS, axe, chromium
from eyestream.errors import Misconfigured, Unavailable
from eyestream.testing.messages import meta_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "model_repository"
TOWER = ROOT / "build_engines/demo/text"
KEYS = {"ana": ["read", "decide", "score", "operate"], "ben": ["read", "decide", "score"], "viewer": ["read"]}
LAPTOP = {"width": 1280, "height": 800}


@dataclass
class Clinic:
    """The line with its exams screened, the results service over it, and a client for each key."""

    ground: Ground
    service: Service

    def ask(self, path: str, who: str = "ana") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.service.keys[who]}"}
        return httpx.get(self.service.address + path, headers=headers, timeout=60)

    def send(self, name: str, *, exam_id: str | None = None) -> None:
        """Put the four pictures of one of the demonstration's exams onto the line."""
        [drawn] = [one for one in EXAMS if one.name == name]
        folder = self.ground.stack.state / "drawn"
        folder.mkdir(exist_ok=True)
        at = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=95 - 7 * int(name.removeprefix("exam-")))
        with KafkaProducer(**self.ground.kafka.producer_config()) as producer:
            for path in draw(folder, drawn):
                _, side, field = path.stem.split("_")
                value = path.read_bytes()
                meta = meta_for(value, exam_id=exam_id or name, laterality=side, field=field, captured_at=at)
                parcel = parcel_of(meta, value, "image/jpeg")
                producer.send(
                    self.ground.kafka.topic, key=parcel.key, value=parcel.value, headers=[*parcel.headers]
                ).get(30)

    def screened(self, exam: str) -> bool:
        answer = self.ask(f"/v1/exams/{exam}")
        return answer.status_code == 200 and len(answer.json()["results"]) == 4


@pytest.fixture(scope="module")
def browser(required: Callable[[str], None]) -> Iterator[Browser]:
    """Of one module: while it is open, a loop runs in this thread, and no other test could run one of its own."""
    from playwright.sync_api import sync_playwright

    try:
        found = chromium()
    except (Misconfigured, Unavailable) as error:
        required(f"NO BROWSER, SO THE DASHBOARD IS NOT TESTED: {error}")
        raise
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.program, args=list(FLAGS), env=dict(found.environment)
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe_source(required: Callable[[str], None]) -> str:
    try:
        return axe()
    except (Misconfigured, Unavailable) as error:
        required(f"NO AXE, SO ACCESSIBILITY IS NOT TESTED: {error}")
        raise


@pytest.fixture(scope="module")
def clinic(
    browser: Browser, state: Path, tmp_path_factory: pytest.TempPathFactory, required: Callable[[str], None]
) -> Iterator[Clinic]:
    """Twelve exams screened, and one message broken in every way there is."""
    ground = Ground(state, model_repository=MODEL, model="eyestream-demo", text_tower=TOWER)
    try:
        ground.up()
    except (Misconfigured, Unavailable) as error:
        required(f"NO LOCAL STACK, SO THE DASHBOARD IS NOT TESTED: {error}")
    try:
        ground.host(PLAIN)
        with serving(ground, tmp_path_factory.mktemp("web"), keys=KEYS) as service:
            clinic = Clinic(ground, service)
            for drawn in EXAMS:
                clinic.send(drawn.name)
            with KafkaProducer(**ground.kafka.producer_config()) as producer:
                for bad in hostile():
                    producer.send(ground.kafka.topic, value=bad.value, headers=[*bad.headers.items()]).get(30)
            ground.wait(lambda: all(clinic.screened(drawn.name) for drawn in EXAMS), "the exams' results")
            letters = len(hostile())
            ground.wait(lambda: clinic.ask("/v1/dead-letters").json()["total"] >= letters, "the dead letters")
            yield clinic
    finally:
        ground.down()


@pytest.fixture
def page(browser: Browser, clinic: Clinic) -> Iterator[Page]:
    """A laptop's browser that nobody has signed in to; whatever it complains about fails the test."""
    yield from opened(browser, clinic)


@pytest.fixture
def other_page(browser: Browser, clinic: Clinic) -> Iterator[Page]:
    """A colleague's."""
    yield from opened(browser, clinic)


def opened(browser: Browser, clinic: Clinic) -> Iterator[Page]:
    context = browser.new_context(viewport=LAPTOP, locale="en-GB", timezone_id="Europe/London")
    context.set_default_timeout(60_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if is_complaint(said.type, said.text) else None)
    page.on("request", lambda request: complaints.append(request.url) if is_elsewhere(request.url, clinic) else None)
    page.goto(clinic.service.address)
    yield page
    context.close()
    assert complaints == []


def is_complaint(kind: str, text: str) -> bool:
    """An answer that is a problem, or none, is the page's business; a refused script or style is a fault."""
    return kind == "error" and not text.startswith("Failed to load resource")


def is_elsewhere(url: str, clinic: Clinic) -> bool:
    return not url.startswith((clinic.service.address, f"blob:{clinic.service.address}"))
