"""Send a folder of pictures: stripped, spooled, and on to Kafka, or to the terminal where there is none.

Run it: `python examples/01_send_a_folder.py` sends two eyes drawn here to a transport that prints; `python
examples/01_send_a_folder.py FOLDER HOST:PORT` sends your pictures to your Kafka. docs/howto/send-from-a-device.md
explains the same from the command line.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from eyestream.device.intake import Intake, Origin
from eyestream.device.labels import NamePattern
from eyestream.device.producer import Sender
from eyestream.device.pseudonym import create_key, read_key
from eyestream.device.spool import Spool
from eyestream.device.transport import Done, KafkaTarget, Transport
from eyestream.errors import Rejected


class Printer:
    """A transport of our own: anything with these two methods can stand where Kafka stands."""

    def send(self, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]], done: Done) -> None:
        print(f"  exam {key.decode()}: {len(value)} bytes, {', '.join(name for name, _ in headers)}")
        done(None)

    def close(self, *, timeout_s: float = 0.0) -> None:
        print(f"  closed, waiting {timeout_s:.0f} s for what is under way")


def draw_eyes(folder: Path) -> None:
    """Two eyes of one exam, with a patient's name in a comment, and a file that is no picture."""
    rows, columns = np.mgrid[:256, :256]
    disc = ((rows - 128) ** 2 + (columns - 128) ** 2 < 120**2)[..., None]
    for eye, red in (("R", 180), ("L", 160)):
        pixels = (disc * np.array([red, 80, 40])).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"E17_{eye}_macula.jpg", comment=b"Annika Lindqvist")
    (folder / "notes.txt").write_text("not a picture")


def main(folder: Path, state: Path, connect: type[Printer] | KafkaTarget) -> None:
    create_key(state / "site.key")
    key = read_key(state / "site.key")
    origin = Origin(site_id="north", device_id="cam-1", programme="demo")
    with Spool(state / "spool.db") as spool:
        intake = Intake(spool, key, origin, pattern=NamePattern("{exam}_{laterality}_{field}"))
        print("into the spool")
        for path in sorted(folder.iterdir()):
            try:
                taken = intake.take(path)
            except Rejected as rejection:
                print(f"  {path.name}: refused: {rejection.reason}: {rejection}")
            else:
                print(f"  {path.name}: {taken.new} new picture, {taken.image_ids[0][:12]}…")
        print("out of the spool")
        sender = Sender(spool, lambda: new_transport(connect), max_message_bytes=16 * 2**20)
        sender.run(until=lambda: spool.depth().waiting == 0, poll_s=0.1)
        print(f"{spool.depth().sent} pictures sent")


def new_transport(connect: type[Printer] | KafkaTarget) -> Transport:
    return connect.connect() if isinstance(connect, KafkaTarget) else connect()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as state:
        if len(sys.argv) > 2:  # noqa: PLR2004
            main(Path(sys.argv[1]), Path(state), KafkaTarget(bootstrap=sys.argv[2]))
        else:
            camera = Path(state) / "camera"
            camera.mkdir()
            draw_eyes(camera)
            main(camera, Path(state), Printer)
