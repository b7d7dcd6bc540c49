"""A real device beside the line: the good pictures of a lot as files, sent by `eyestream device send`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from eyestream.apps.drills.pictures import Parcel
from eyestream.apps.drills.run import Run
from eyestream.device import pictures
from eyestream.device.intake import image_id
from eyestream.device.pseudonym import create_key, read_key
from eyestream.records import HEADER_CONTENT_TYPE, ImageMeta, utc

SITE: Final = "drill-clinic"
CAMERA: Final = "drill-camera"
_SUFFIX: Final = {b"image/jpeg": ".jpg", b"image/png": ".png"}


class Device:
    """Takes the good pictures out of the run's lot and sends them itself.

    What the run then expects is what a device must make of the files: same pixels, its own names and pseudonyms.
    Leaving its block ends a program that still runs.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = run.ground.stack.state / "devices" / run.mark
        self._folder.mkdir(parents=True)
        self._key = self._folder / "site.key"
        create_key(self._key)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Begin to send; returns at once."""
        lot, kafka = self._run.lot, self._run.ground.kafka
        files = [self._take(parcel, parcel.meta) for parcel in lot.parcels if parcel.meta is not None]
        lot.parcels = [parcel for parcel in lot.parcels if parcel.meta is None]
        argv = [sys.executable, "-m", "eyestream", "device", "send", *map(str, files)]
        argv += ["--site", SITE, "--device", CAMERA, "--programme", "demo"]
        argv += ["--pattern", "{exam}_{laterality}_{field}", "--plain-exams"]
        argv += ["--kafka", kafka.bootstrap, "--topic", kafka.topic]
        argv += ["--key", str(self._key), "--spool", str(self._folder / "spool.db")]
        with (self._folder / "device.log").open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def sends(self) -> bool:
        """True while it is not done."""
        assert self._process is not None
        return self._process.poll() is None

    def wait(self, within_s: float = 120.0) -> int:
        """Its exit code, once everything is in Kafka; it is ended when that takes too long."""
        assert self._process is not None
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _take(self, parcel: Parcel, meta: ImageMeta) -> Path:
        suffix = _SUFFIX[dict(parcel.headers)[HEADER_CONTENT_TYPE]]
        file = self._folder / f"{meta.exam_id}_{meta.laterality}_{meta.field}{suffix}"
        file.write_bytes(parcel.value)
        key = read_key(self._key)
        [frame] = pictures.read(parcel.value, key, namespace=SITE)
        sha256 = hashlib.sha256(frame.data).hexdigest()
        self._run.ground.alias(sha256, meta.sha256)
        changes = {
            "image_id": image_id(meta.exam_id, sha256, 0),
            "subject_id": key.subject(meta.exam_id, namespace="exam"),
            "site_id": SITE,
            "device_id": CAMERA,
            "captured_at": utc(file.stat().st_mtime),
            "sha256": sha256,
        }
        self._run.lot.carried.append(meta.model_copy(update=changes))
        return file
