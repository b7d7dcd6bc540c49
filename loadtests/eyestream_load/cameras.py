"""A child program: cameras, each with the device's own intake, spool and sender, and a way to Kafka that can be cut."""

from __future__ import annotations

import datetime as dt
import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eyestream import records
from eyestream import settings as settings_module
from eyestream.apps.kafka import security
from eyestream.device.intake import Intake, Origin
from eyestream.device.labels import Labels
from eyestream.device.producer import Sender
from eyestream.device.pseudonym import SiteKey, create_key, read_key
from eyestream.device.spool import Spool
from eyestream.device.transport import Done, KafkaTarget, Transport
from eyestream.errors import EyestreamError, Unavailable
from eyestream.records import ImageMeta
from eyestream_load import lines, photographs
from eyestream_load.arrivals import VIEWS
from eyestream_load.scenario import Scenario

_STOPS_WITHIN_S: Final = 10.0


class ToldSpool(Spool):
    """A spool that says what it took and what has arrived; `showing` is the photograph that comes next."""

    showing = -1

    def put(self, meta: ImageMeta, data: bytes, *, content_type: str) -> bool:
        """As Spool promises."""
        new = super().put(meta, data, content_type=content_type)
        meant = meta.captured_at.timestamp()
        facts = {"image": meta.image_id, "exam": meta.exam_id, "sha256": meta.sha256, "meant": meant}
        lines.tell("spooled", **facts, photograph=self.showing, at=records.now())
        return new

    def mark_sent(self, image_ids: Sequence[str]) -> None:
        """As Spool promises."""
        super().mark_sent(image_ids)
        at = records.now()
        for image_id in image_ids:
            lines.tell("sent", image=image_id, at=at)


@dataclass(slots=True)
class Way:
    """The network between one camera and Kafka."""

    target: KafkaTarget
    cut: bool = False

    def connect(self) -> Transport:
        """As the device connects, while there is a way."""
        self.check()
        return _Gate(self, self.target.connect())

    def check(self) -> None:
        """Raises Unavailable while the way is cut."""
        if self.cut:
            raise Unavailable("kafka", "the way to it is cut")


class _Gate:
    """A transport over that network."""

    def __init__(self, way: Way, transport: Transport) -> None:
        self._way, self._transport = way, transport

    def send(self, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]], done: Done) -> None:
        """As Transport promises."""
        self._way.check()
        self._transport.send(key=key, value=value, headers=headers, done=done)

    def close(self, *, timeout_s: float = 0.0) -> None:
        """As Transport promises."""
        self._transport.close(timeout_s=timeout_s)


class Camera:
    """One camera and its computer: pictures go to the disk in one thread, and from there to Kafka in another."""

    def __init__(
        self, number: int, *, folder: Path, key: SiteKey, files: Sequence[Path], programme: str, target: KafkaTarget
    ) -> None:
        self.way = Way(target)
        self._files, self._key = files, key
        self._origin = Origin(site_id=f"{lines.SITE}{number:03d}", device_id="camera", programme=programme)
        self._spool = ToldSpool(folder / f"spool-{number:03d}.db")
        self._sender = Sender(self._spool, self.way.connect, max_message_bytes=target.max_message_bytes)
        self._shots: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._taking = threading.Thread(target=_told, args=(self._take_all,), daemon=True)
        self._sending = threading.Thread(target=_told, args=(self._sender.run,), daemon=True)
        self._taking.start()
        self._sending.start()

    def shoot(self, shot: dict[str, Any]) -> None:
        """Take a picture, as soon as those before it are on the disk. Does not block."""
        self._shots.put(shot)

    def stop(self) -> None:
        """Take no more, and send no more; what waits in the spool stays there. Does not wait for it."""
        self._shots.put(None)
        self._sender.stop()

    def join(self) -> None:
        """Wait until it has stopped."""
        self._taking.join(timeout=_STOPS_WITHIN_S)
        self._sending.join(timeout=_STOPS_WITHIN_S)

    def _take_all(self) -> None:
        while (shot := self._shots.get()) is not None:
            eye, field = VIEWS[shot["view"] % len(VIEWS)]
            taken_at = dt.datetime.fromtimestamp(shot["meant"], dt.UTC)
            given = Labels(exam=shot["exam"], laterality=eye, field=field, captured_at=taken_at)
            self._spool.showing = shot["photograph"]
            try:
                Intake(self._spool, self._key, self._origin, given=given).take(self._files[shot["photograph"]])
            except (EyestreamError, OSError) as error:
                lines.tell("not-taken", exam=shot["exam"], why=f"{type(error).__name__}: {error}")
            else:
                self._sender.wake()


def _told(work: Any) -> None:
    """A thread that ends by a fault must not leave a camera behind that looks well."""
    try:
        work()
    except Exception as error:
        lines.tell("failed", why=f"a camera: {type(error).__name__}: {error}")
        raise


def program() -> None:
    """`open` once, then `camera`, `shoot` and `cut` as often as there are any."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it says of an outage, the spool's counts say better
    logging.getLogger("eyestream.device").setLevel(logging.ERROR)
    given = lines.orders()
    opening = next(given)
    scenario, folder = Scenario.model_validate(opening["scenario"]), Path(opening["folder"])
    kafka = settings_module.load().kafka
    target = KafkaTarget(
        bootstrap=kafka.bootstrap,
        topic=kafka.topic,
        max_message_bytes=kafka.max_message_bytes,
        security=security(kafka),
    )
    files = photographs.draw(folder / "photographs", scenario)
    create_key(folder / "site.key")
    key = read_key(folder / "site.key")
    lines.tell("ready")
    cameras: dict[int, Camera] = {}
    for order in given:
        number = order["camera"]
        if number not in cameras:
            cameras[number] = Camera(
                number, folder=folder, key=key, files=files, programme=scenario.programme, target=target
            )
        if order["do"] == "shoot":
            cameras[number].shoot(order)
        elif order["do"] == "cut":
            cameras[number].way.cut = order["cut"]
    for camera in cameras.values():
        camera.stop()
    for camera in cameras.values():
        camera.join()


def main() -> None:
    """Run it."""
    lines.run(program)


if __name__ == "__main__":
    main()
