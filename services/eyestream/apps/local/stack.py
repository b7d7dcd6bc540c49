"""The local stack: real parts, started together, used before they count as ready, and ended in reverse order.

Knows parts only by what they promise. Everything it keeps lies in one state folder; whoever opens that folder later
finds the same processes, ports and data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal as signals
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from eyestream.apps.local import failures, ports, processes, triton
from eyestream.apps.local.base import (
    Endpoints,
    Part,
    PartStatus,
    Place,
    Progress,
    quiet,
    write_text,
)
from eyestream.apps.local.cache import default_cache, locked
from eyestream.apps.local.kafka import Kafka, screening_topics
from eyestream.apps.local.redis import Redis
from eyestream.apps.local.triton import Triton
from eyestream.errors import Misconfigured, Unavailable

PARTS: Final = ("kafka", "redis", "triton")
_SETTINGS: Final = "stack.json"
_RECORD: Final = "process"
_COMMAND: Final = "command.json"
_POLL_S: Final = 0.1
_RECORDED_WITHIN_S: Final = 5.0


class Stack:
    """The parts of one state folder.

    `parts` are built-in names, or `Part` objects of the caller. The named ones start together; the objects start after
    them, one after the other, and may use their endpoints. Opening a Stack starts nothing. Two Stacks on one folder see
    the same processes, and `up` and `down` wait for each other. As a context manager it is down on the way out.
    """

    def __init__(
        self,
        state: Path,
        *,
        model_repository: Path,
        parts: Sequence[str | Part] = PARTS,
        partitions: int = 4,
        cache: Path | None = None,
    ) -> None:
        self.state = state.resolve()
        self._cache = cache or default_cache()
        self._ports = self.state / "ports.json"
        self._settings = {"model_repository": str(model_repository.resolve()), "partitions": partitions}
        built_in: Mapping[str, Part] = {
            "kafka": Kafka(screening_topics(partitions)),
            "redis": Redis(),
            "triton": Triton(model_repository),
        }
        unknown = [part for part in parts if isinstance(part, str) and part not in built_in]
        if unknown:
            raise Misconfigured(
                f"the local stack has no part {', '.join(map(str, unknown))}; it has {', '.join(PARTS)}"
            )
        self._built_in = built_in
        self._together = [built_in[part] for part in parts if isinstance(part, str)]
        self._after = [part for part in parts if not isinstance(part, str)]
        self._parts = {part.name: part for part in [*self._together, *self._after]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @classmethod
    def reopen(cls, state: Path) -> Self:
        """The built-in parts of the last `up` on this folder, as they were set. Raises Misconfigured without one."""
        Endpoints.read(state)
        kept = json.loads((state / _SETTINGS).read_text())
        return cls(state, model_repository=Path(kept.pop("model_repository")), **kept)

    @property
    def endpoints(self) -> Endpoints:
        """Where the parts answer. Raises Misconfigured before the first `up`."""
        return Endpoints.read(self.state)

    def up(self, progress: Progress | None = None, *, fresh: bool = False) -> Endpoints:
        """Start every part that does not run yet and return once each was really used.

        A part that runs, works and would be started the same way is left alone; leftovers of a killed run are ended
        first. Data of the last time is there again, unless `fresh`. Raises PartFailed naming the part, its log and what
        to do, or Misconfigured where the machine lacks something; what this call started is then ended again.
        """
        say = progress or quiet
        with self._lock(say):
            if fresh:
                self._down(say)
                shutil.rmtree(self.state / "data", ignore_errors=True)
            wanted = [port for part in self._parts.values() for port in part.ports]
            running = [part for part in self._parts.values() if processes.running(self._record(part.name))]
            ports.keep(self._ports, wanted, in_use=[port for part in running for port in part.ports])
            built_in = [part.name for part in self._standing()]
            write_text(self.state / _SETTINGS, json.dumps({**self._settings, "parts": built_in}, indent=2) + "\n")
            started: list[Part] = []
            try:
                for part in reversed(self._together):  # Triton first: a wrong model repository shows before downloads
                    part.prepare(self._place(part, say))
                started += [part for part in self._together if self._launch(part, say)]
                for part in self._together:
                    self._await(part, say)
                self._all_endpoints().write(self.state)
                for part in self._after:
                    part.prepare(self._place(part, say))
                    started += [part] if self._launch(part, say) else []
                    self._await(part, say)
            except BaseException:  # Ctrl-C too: what was started is ended, and the error goes on
                for part in reversed(started):
                    processes.stop(self._record(part.name), within_s=part.stops_within_s)
                raise
            return self.endpoints

    def require_own(self, *deleted: str) -> None:
        """To begin afresh deletes these folders: Misconfigured where one is there and no stack ever was."""
        if not self._ports.exists() and (found := [name for name in deleted if (self.state / name).exists()]):
            raise Misconfigured(
                f"{self.state} has a folder {found[0]!r} that no local stack made and that would be deleted: "
                f"name another folder with --state"
            )

    def down(self, progress: Progress | None = None) -> None:
        """End every process of this state folder, those of parts this Stack was not given too, the last started first.

        Each is asked with SIGTERM and killed when it takes too long. Idempotent; data stays.
        """
        say = progress or quiet
        with self._lock(say):
            self._down(say)

    def status(self) -> list[PartStatus]:
        """How each part is now, found out by using it; of a part that this Stack was not given, its process alone."""
        records = [command.with_name(_RECORD) for command in _by_start(self.state / "run")]
        others = [record for record in records if record.exists() and record.parent.name not in self._parts]
        return [*(self._status(part) for part in self._parts.values()), *map(self._status_unasked, others)]

    def start(self, part: str, progress: Progress | None = None) -> None:
        """Start one part again with the same data and port, and return once it was really used. Raises like `up`."""
        say = progress or quiet
        with self._lock(say):
            it = self._part(part)
            it.prepare(self._place(it, say))
            self._launch(it, say)
            self._await(it, say)

    def stop(self, part: str) -> None:
        """End one part in an orderly way; its data and port stay. Idempotent."""
        it = self._part(part)
        with self._lock(quiet):
            processes.stop(self._record(part), within_s=it.stops_within_s)

    def restart(self, part: str, progress: Progress | None = None) -> None:
        """`stop`, then `start`."""
        self.stop(part)
        self.start(part, progress)

    def kill(self, part: str, *, signal: int = signals.SIGKILL) -> None:
        """Send a signal to a part's main process. Returns, after SIGKILL, when it is gone.

        Raises Misconfigured when the part does not run.
        """
        if not processes.send(self._record(self._part(part).name), signal):
            raise Misconfigured(f"{part} does not run")
        if signal == signals.SIGKILL:
            processes.wait_ended(self._record(part), self._part(part).stops_within_s)

    def pids(self, part: str) -> tuple[int, ...]:
        """The part's processes, the main one first; empty when it does not run."""
        return processes.members(self._record(self._part(part).name))

    def stubs(self, model: str) -> tuple[int, ...]:
        """The processes that serve one of Triton's models, one for each instance."""
        return triton.stubs(self.pids("triton"), model)

    def mend(self, model: str) -> None:
        """Give a model whose process was killed a new one, and return once it answers. Raises Unavailable."""
        grpc = self.endpoints.triton_grpc
        triton.reload(grpc, model)
        triton.infer_once(grpc, model)

    def log(self, part: str) -> Path:
        """The file that the part's output is appended to."""
        return self.state / "logs" / f"{part}.log"

    def _down(self, say: Progress) -> None:
        records = [command.with_name(_RECORD) for command in _by_start(self.state / "run")]
        for record in reversed(records):
            name = record.parent.name
            if not record.exists():
                continue
            say(name, "stopping")
            part = self._parts.get(name)
            processes.stop(record, within_s=part.stops_within_s if part else Part.stops_within_s)
            if part is not None:
                part.sweep(self._place(part, say))
            say(name, "stopped")

    def _launch(self, part: Part, say: Progress) -> bool:
        """Start the part unless it runs as it should; True when a process was started."""
        place, record = self._place(part, say), self._record(part.name)
        command = part.command(place)
        recorded = record.with_name(_COMMAND)
        if processes.running(record):
            if recorded.exists() and recorded.read_text() == command.text() and _ready(part, place) is None:
                say(part.name, "already running")
                return False
            say(part.name, "stopping what an earlier run left")
        processes.stop(record, within_s=part.stops_within_s)
        part.sweep(place)
        place.data.mkdir(parents=True, exist_ok=True)
        write_text(recorded, command.text())
        failures.mark_start(self.log(part.name))
        say(part.name, "starting")
        processes.spawn(command, record=record, log=self.log(part.name))
        processes.wait_recorded(record, _RECORDED_WITHIN_S)
        return True

    def _await(self, part: Part, say: Progress) -> None:
        place, record = self._place(part, say), self._record(part.name)
        began = time.monotonic()
        while (reason := _ready(part, place)) is not None:
            if not processes.running(record):
                raise failures.describe(part.name, "it ended while starting", log=self.log(part.name))
            if time.monotonic() - began > part.ready_within_s:
                explanation = f"not usable after {part.ready_within_s:.0f} s: {reason}"
                raise failures.describe(part.name, explanation, log=self.log(part.name))
            time.sleep(_POLL_S)
        say(part.name, "ready")

    def _status(self, part: Part) -> PartStatus:
        if not set(part.ports) <= set(ports.read(self._ports)):
            return PartStatus(part.name, "stopped", None, self.log(part.name), {}, "never started here")
        place = self._place(part, quiet)
        record = self._record(part.name)
        process = processes.running(record)
        addresses = part.endpoints(place.ports)
        if process is None:
            state = "died" if record.exists() else "stopped"
            return PartStatus(part.name, state, None, self.log(part.name), addresses)
        reason = _ready(part, place)
        state = "running" if reason is None else "not ready"
        return PartStatus(part.name, state, process.pid, self.log(part.name), addresses, reason or "")

    def _status_unasked(self, record: Path) -> PartStatus:
        name, process = record.parent.name, processes.running(record)
        if process is None:
            return PartStatus(name, "died", None, self.log(name), {})
        return PartStatus(name, "running", process.pid, self.log(name), {}, "its process alone was looked at")

    def _standing(self) -> list[Part]:
        """The built-in parts of this Stack, and those of an earlier `up` that still run: one started hides no other."""
        kept = self.state / _SETTINGS
        earlier: list[str] = json.loads(kept.read_text())["parts"] if kept.exists() else []
        beside = [name for name in earlier if name not in self._parts and processes.running(self._record(name))]
        return [*self._together, *(self._built_in[name] for name in beside)]

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise Misconfigured(f"this stack has no part {name}; it has {', '.join(self._parts)}")
        return self._parts[name]

    def _record(self, name: str) -> Path:
        return self.state / "run" / name / _RECORD

    def _place(self, part: Part, say: Progress) -> Place:
        kept = ports.read(self._ports)
        if not set(part.ports) <= set(kept):
            raise Misconfigured(f"{part.name} has never been started in {self.state}; `up` does that")
        return Place(
            data=self.state / "data" / part.name,
            runtime=self.state / "run" / part.name,
            cache=self._cache,
            ports=kept,
            endpoints=self._all_endpoints(),
            say=lambda line: say(part.name, line),
        )

    def _all_endpoints(self) -> Endpoints:
        kept = ports.read(self._ports)
        fields: dict[str, str] = {}
        for part in [*self._standing(), *self._after]:
            if all(name in kept for name in part.ports):
                fields |= part.endpoints(kept)
        return dataclasses.replace(Endpoints(), **fields)

    @contextlib.contextmanager
    def _lock(self, say: Progress) -> Iterator[None]:
        with locked(self.state / "lock", waiting=lambda: say("stack", "waiting for another command on this stack")):
            yield


def _ready(part: Part, place: Place) -> str | None:
    """None when the part works, else why not."""
    try:
        part.ready(place)
    except Unavailable as error:
        return str(error)
    return None


def _by_start(run: Path) -> list[Path]:
    """The commands of all parts that were ever started, the last started last."""
    return sorted(run.glob(f"*/{_COMMAND}"), key=lambda command: command.stat().st_mtime_ns)
