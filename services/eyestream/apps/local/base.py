"""What a part of the local stack is, where it may write and how its failure reads. Knows no particular part.

A part is anything that runs as one process and can be used: Kafka, Redis, Triton, or a worker of our own. The stack
asks it for its command and asks it whether it works; it never asks it to start or stop anything.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from eyestream.errors import Misconfigured, Unavailable

Progress = Callable[[str, str], None]
"""Called with the part's name and one line of what is being done; must not raise."""


def quiet(part: str, line: str) -> None:
    """The progress of a stack nobody watches."""


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the running parts answer, on the loopback interface only; empty text where the stack has no such part.

    `kafka`, `triton_grpc` and `triton_http` are `host:port`, as their clients want them; the other two are URLs.
    """

    kafka: str = ""
    redis_url: str = ""
    triton_grpc: str = ""
    triton_http: str = ""
    triton_metrics: str = ""

    @classmethod
    def read(cls, state: Path) -> Endpoints:
        """The endpoints of the stack whose state folder this is. Raises Misconfigured when none was started there."""
        try:
            return cls(**json.loads((state / ENDPOINTS).read_text()))
        except FileNotFoundError:
            raise Misconfigured(
                f"no local stack has been started in {state}; start one with `eyestream local up`"
            ) from None
        except (ValueError, TypeError) as error:
            raise Misconfigured(f"{state / ENDPOINTS} is damaged ({error}); run `eyestream local up` again") from error

    def environment(self) -> dict[str, str]:
        """The settings that point every eyestream program at these parts."""
        settings = {
            "EYESTREAM_KAFKA__BOOTSTRAP": self.kafka,
            "EYESTREAM_REDIS__URL": self.redis_url,
            "EYESTREAM_TRITON__ADDRESS": self.triton_grpc,
        }
        return {name: value for name, value in settings.items() if value}

    def write(self, state: Path) -> None:
        """Put them where `read` finds them, whole or not at all."""
        write_text(state / ENDPOINTS, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


ENDPOINTS: Final = "endpoints.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What a part is given: a folder that outlives `down`, its ports by name, the shared cache and the neighbours.

    `runtime` is rewritten at every start; `data` survives until `--fresh`. `cache` is shared by every checkout of this
    user, so what is put there must go through `cache.Cache`.
    """

    data: Path
    runtime: Path
    cache: Path
    ports: Mapping[str, int]
    endpoints: Endpoints
    say: Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A program, by its path, and what is added to the environment it inherits.

    `inputs` is any text that changes when the files it reads at its start do: a running process whose command differs
    in anything is replaced by the next `up`.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inputs: str = ""

    def text(self) -> str:
        """The same for the same command; what a part runs with is kept beside it."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


class Part(Protocol):
    """One process of the stack. A part holds settings and no state: what it is given, it gets as a `Place`.

    Subclass it: what most parts need not say has a default.
    """

    name: str
    """A slug, unique in the stack: it names the log, the folders and the command line's argument."""
    ports: Sequence[str] = ()
    """Names of the loopback ports it needs; the same numbers are kept over restarts where they stay free."""
    ready_within_s: float = 120.0
    """How long a start may take before it counts as failed."""
    stops_within_s: float = 20.0
    """How long it may take to end after SIGTERM before it is killed."""

    def endpoints(self, ports: Mapping[str, int]) -> Mapping[str, str]:  # noqa: ARG002 - for those that answer
        """The fields of `Endpoints` it answers for."""
        return {}

    def prepare(self, place: Place) -> None:  # noqa: ARG002 - for those that need it
        """Fetch, build and write whatever a start needs. Idempotent: the second time it downloads and builds nothing.

        Raises Misconfigured with what to do where the machine lacks something. May be called while it runs.
        """
        return

    def sweep(self, place: Place) -> None:  # noqa: ARG002 - for those that need it
        """Remove what a killed process of this part left outside its folders. Called only while none runs."""
        return

    def command(self, place: Place) -> Command:
        """What to run; called after `prepare`. The same place and files give the same command."""
        ...

    def ready(self, place: Place) -> None:
        """Use it for what it is for. Returns when that worked; raises Unavailable with the reason while it does not.

        Blocks for a few seconds at the most, and leaves no connection open.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class PartStatus:
    """What `status` says of a part: `running`, `not ready` (the process lives, using it fails), `died` or `stopped`."""

    name: str
    state: str
    pid: int | None
    log: Path
    addresses: Mapping[str, str]
    explanation: str = ""


class PartFailed(Unavailable):
    """A part of the local stack did not start, or did not become usable.

    The text names the part, its log with the last lines, and what to do.
    """

    def __init__(self, part: str, explanation: str, *, log: Path, last_lines: Sequence[str] = (), advice: str) -> None:
        lines = [explanation, f"log: {log}", *(f"  | {line}" for line in last_lines), f"what to do: {advice}"]
        super().__init__(part, "\n".join(lines))
        self.log = log


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, so that a reader beside us never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text)
    scratch.replace(path)
