"""What the line says of itself: the verbs of its log, the names of its metrics, the trace it carries.

One list each, so that a dashboard or an alert can be checked against it. Nothing here holds pixels, names or subjects:
a log record keeps only the fields of `LOG_FIELDS`, whatever a caller passes.
"""

from __future__ import annotations

import enum
import logging
import re
import secrets
import sys
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pythonjsonlogger.json import JsonFormatter

TRACEPARENT: Final = re.compile(r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")


class Verb(enum.StrEnum):
    """What a log line reports; `action` in the JSON. A closed vocabulary: dashboards key on it."""

    STARTED = "started"
    ASSIGNED = "assigned"
    REVOKED = "revoked"
    STORED = "stored"
    CONFLICTED = "conflicted"
    DEAD_LETTERED = "dead-lettered"
    RETRIED = "retried"
    RECOVERED = "recovered"
    SWAPPED = "swapped"
    REFUSED = "refused"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPED = "stopped"
    FAILED = "failed"
    SPOOLED = "spooled"
    SENT = "sent"
    REDRIVEN = "redriven"


LOG_FIELDS: Final = frozenset(
    {
        "action",
        "attempts",
        "bank",
        "batch",
        "count",
        "encoder",
        "exam_id",
        "image_id",
        "offset",
        "part",
        "partition",
        "programme",
        "reason",
        "route",
        "seconds",
        "site_id",
        "stage",
        "status",
        "topic",
        "traceparent",
    }
)

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class AllowList(logging.Filter):
    """Drops every extra field that is not in LOG_FIELDS, so a careless `extra=` cannot leak a patient."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Strip the record; it is always let through."""
        for name in [name for name in vars(record) if name not in _STANDARD and name not in LOG_FIELDS]:
            delattr(record, name)
        return True


def log_as_json(level: int = logging.INFO) -> None:
    """Send this process's log to stderr, one JSON object a line. Idempotent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["asctime", "levelname", "name", "message"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    handler.addFilter(AllowList())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # kafka-python tells of every connection and fetch at INFO.
    logging.getLogger("kafka").setLevel(max(level, logging.WARNING))
    # And of every attempt to reach a broker that is away, as an error; whoever needs the broker says so once.
    for name in ("kafka.net", "kafka.cluster"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def new_traceparent() -> str:
    """A W3C trace context for one picture, made where the picture is made."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_traceparent(parent: str | None) -> str:
    """The same trace with a span of our own; a new trace when the parent is missing or malformed."""
    if parent is None or not TRACEPARENT.match(parent):
        return new_traceparent()
    version, trace, _, flags = parent.split("-")
    return f"{version}-{trace}-{secrets.token_hex(8)}-{flags}"


STAGES: Final = ("transit", "decode", "batch", "encode", "score", "store", "total")
"""`transit` is device to fetch, `batch` is decoded to sent, `total` is captured-by-Kafka to stored."""

FATES: Final = ("stored", "duplicate", "conflict", "dead-lettered")

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class Metrics:
    """The line's metrics on a registry of their own; made once, in wiring. Names follow Prometheus' conventions."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        on: dict[str, Any] = {"namespace": "eyestream", "registry": self.registry}
        self.pictures = Counter("pictures", "Pictures by what became of them.", ["fate"], **on)
        self.dead_letters = Counter("dead_letters", "Dead letters by reason and stage.", ["reason", "stage"], **on)
        self.stage_seconds = Histogram(
            "stage_seconds", "Time a picture spends in a stage.", ["stage"], buckets=_SECONDS, **on
        )
        self.batch_fill = Histogram(
            "batch_fill_ratio", "Pictures in a batch over its largest size.", buckets=[i / 8 for i in range(1, 9)], **on
        )
        self.queue_depth = Gauge("queue_depth", "Pictures waiting before a stage.", ["queue"], **on)
        self.in_flight = Gauge("in_flight_pictures", "Pictures fetched and not yet acknowledged.", **on)
        self.in_flight_bytes = Gauge("in_flight_bytes", "Bytes of pictures fetched and not yet acknowledged.", **on)
        self.lag = Gauge("lag_messages", "Messages waiting in this member's partitions.", **on)
        self.retries = Counter("retries", "Attempts repeated because a part was away.", ["part"], **on)
        self.paused = Gauge("paused", "1 while the line waits for a part that is away.", ["part"], **on)
        self.bank_swaps = Counter("bank_swaps", "Banks exchanged while running.", ["programme"], **on)
        self.bank_info = Gauge("bank_info", "1 for the bank in service.", ["programme", "bank", "encoder"], **on)
        for fate in FATES:
            self.pictures.labels(fate)
        for stage in STAGES:
            self.stage_seconds.labels(stage)


class WebMetrics:
    """The results service's metrics, on a registry of their own. A route is its template: no id becomes a label."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        on: dict[str, Any] = {"namespace": "eyestream_web", "registry": self.registry}
        self.requests = Counter("requests", "Requests by what became of them.", ["route", "method", "status"], **on)
        self.seconds = Histogram("request_seconds", "Time to the first byte.", ["route"], buckets=_SECONDS, **on)
        self.refusals = Counter("refusals", "Requests refused before they were read.", ["reason"], **on)
        self.streams = Gauge("event_streams", "Clients that follow events.", **on)
        self.deeds = Counter("deeds", "Entries in the audit record.", ["action"], **on)
        self.scores = Counter("scores", "Pictures scored on demand by what became of them.", ["outcome"], **on)
