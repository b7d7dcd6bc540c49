"""The drills themselves: each breaks one thing while pictures flow and mends it as an operator or a kernel would."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from eyestream import objects
from eyestream.apps.drills import devices
from eyestream.apps.drills.accounts import Account, uncommitted
from eyestream.apps.drills.ground import PLAIN, SECOND, SERVE, Ground, Host, end
from eyestream.apps.drills.pictures import make_lot
from eyestream.apps.drills.run import Run, Watch
from eyestream.banks.build import build
from eyestream.banks.shelf import Bank
from eyestream.programmes import Programme
from eyestream.records import HEADER_REF

BAD_SHARE: Final = 0.08
AWAY_S: Final = 20.0
HALTED_S: Final = 40.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One drill. `host` is the worker it is for; `broken` says in a table what is done."""

    name: str
    broken: str
    host: Host
    play: Callable[[Run], None]

    def run(self, ground: Ground, *, pictures: int, mark: str, watch: Watch = lambda _: None) -> Account:
        """Play it with so many pictures and close the books. `mark` makes the exams of this run its own.

        Raises Unavailable when the drill itself could not be held.
        """
        ground.host(self.host)
        bad = max(1, round(BAD_SHARE * pictures))
        drawn = ground.drawn[: pictures - bad]
        if len(drawn) < pictures - bad:
            raise ValueError(f"{len(ground.drawn)} pictures are drawn and {pictures - bad} needed")
        run = Run(self.name, ground, make_lot(f"{mark}-{self.name}", drawn, bad=bad), mark=mark, watch=watch)
        self.play(run)
        run.settle()
        return run.account()


def _replica_killed(run: Run) -> None:
    run.send()
    run.until_stored(0.25)
    _kill_line(run, SERVE)


def _worker_killed(run: Run) -> None:
    run.send()
    run.until_stored(0.25)
    _kill_line(run, PLAIN)
    run.ground.stack.start(PLAIN)  # as the kubelet or systemd would


def _neighbour_takes_over(run: Run) -> None:
    stack = run.ground.stack
    stack.start(SECOND)
    run.send(0.4)
    _until_second_works(run)
    run.send()
    _kill_line(run, SECOND)


def _crash_before_commit(run: Run) -> None:
    """Kafka is halted, so that results are stored and cannot be acknowledged; then the line is killed."""
    stack = run.ground.stack
    run.lot.parcels.sort(key=lambda parcel: parcel.meta is None)  # a dead letter would wait for Kafka, and the line too
    run.send()
    run.until_stored(0.1)
    stack.kill("kafka", signal=signal.SIGSTOP)
    try:
        before = run.stored
        run.ground.wait(lambda: run.stored > before + 8, "results while Kafka is halted")
        _kill_line(run, SERVE)
    finally:
        stack.kill("kafka", signal=signal.SIGCONT)
    run.settle()
    run.demand(run.duplicates > 0, "nothing came twice, so the crash was not between store and acknowledgement")


def _triton_killed(run: Run) -> None:
    _kill_and_start(run, "triton")


def _redis_killed(run: Run) -> None:
    _kill_and_start(run, "redis")


def _kafka_killed(run: Run) -> None:
    run.send(0.6)
    run.until_stored(0.2)
    run.fault()
    run.ground.stack.kill("kafka")
    run.ground.stack.start("kafka")
    run.send()


def _model_process_killed(run: Run) -> None:
    """Only the processes that compute: Triton itself lives, says that it is ready, and fails every request."""
    run.send()
    run.until_stored(0.25)
    server, *_ = run.ground.stack.pids("triton")
    stubs = run.ground.stack.stubs(run.ground.model)
    run.demand(bool(stubs), "Triton has no process for the model")
    run.fault()
    for pid in stubs:
        end(pid, signal.SIGKILL)
    run.settle()
    run.demand(run.ground.stack.pids("triton")[0] == server, "Triton itself was started anew")


def _triton_away(run: Run) -> None:
    run.send()
    run.until_stored(0.25)
    run.fault()
    run.ground.stack.kill("triton")
    time.sleep(AWAY_S)
    run.ground.stack.start("triton")


def _store_away(run: Run) -> None:
    """Every picture travels by reference, and the object store is unmounted for a while."""
    store = run.ground.store
    for number, parcel in enumerate(run.lot.parcels):
        if parcel.meta is not None:
            reference = objects.put(str(store), parcel.value, sha256=parcel.meta.sha256)
            headers = (*parcel.headers, (HEADER_REF, reference.encode()))
            run.lot.parcels[number] = dataclasses.replace(parcel, value=b"", headers=headers)
    run.send(0.5)
    run.until_stored(0.2)
    run.fault()
    away = store.with_name("store-away")
    store.rename(away)
    store.mkdir()  # the place of a disk that is not mounted is an empty folder
    run.send()
    time.sleep(5)
    store.rmdir()
    away.rename(store)


def _kafka_halted(run: Run) -> None:
    """Kafka keeps its connections and answers nothing, until dead letters run out of time and members are missed."""
    run.send()
    run.until_stored(0.25)
    run.fault()
    run.ground.stack.kill("kafka", signal=signal.SIGSTOP)
    try:
        time.sleep(HALTED_S)
    finally:
        run.ground.stack.kill("kafka", signal=signal.SIGCONT)


def _device_cut_off(run: Run) -> None:
    """The real device program sends, and its broker vanishes; what it holds waits in the spool."""
    with devices.Device(run) as device:
        device.start()
        run.until_stored(0.05)
        run.demand(device.sends(), "the device had sent everything before the broker went")
        run.fault()
        run.ground.stack.kill("kafka")
        time.sleep(3)
        run.ground.stack.start("kafka")
        run.demand(device.wait() == 0, "the device's program did not end well")
    run.send()  # the bad ones, which no device of ours would send


def _bank_swapped(run: Run) -> None:
    ground = run.ground
    pids = ground.pids(SERVE)
    run.send(0.5)
    run.until_stored(0.2)
    before = ground.shelf.current("demo")
    assert before is not None
    text = before.programme.text.replace('"{}"', f'"{{}}", "in the picture of {run.mark}: {{}}"')
    programme = Programme.parse(text)
    provenance = before.head.provenance
    head = build(
        programme, ground.tower, encoder_digest=provenance.encoder, preprocessing_digest=provenance.preprocessing
    )
    ground.take_in(Bank(programme, head))
    ground.shelf.publish(programme, head)
    ground.shelf.activate("demo", head.digest)
    ground.wait(lambda: head.digest in ground.log(SERVE), "the exchange of the bank")
    run.send()
    run.settle()
    used = run.banks()
    run.demand(set(used) == {before.head.digest, head.digest}, f"results name {len(used)} banks instead of two")
    run.demand(ground.pids(SERVE) == pids, "a line was started anew")


def _second_joins_and_leaves(run: Run) -> None:
    stack = run.ground.stack
    run.send(0.3)
    stack.start(SECOND)
    _until_second_works(run)
    run.fault()
    run.send_during(lambda: stack.stop(SECOND))


def _replica_drained(run: Run) -> None:
    _drain(run, SERVE)
    run.ground.stack.start(PLAIN)
    run.settle()
    run.demand(run.duplicates == 0, "a drained replica left results that it had not acknowledged")


def _worker_drained(run: Run) -> None:
    _drain(run, PLAIN)
    run.ground.stack.start(PLAIN)
    run.settle()
    run.demand(run.duplicates == 0, "a drained worker left results that it had not acknowledged")


def _drain(run: Run, worker: Host) -> None:
    run.send(0.6)
    run.until_stored(0.1)
    run.fault()
    run.send_during(lambda: run.ground.stack.stop(worker))
    run.demand(uncommitted(run.ground.kafka) > 0, "everything was screened before the drain; send more pictures")


def _kill_and_start(run: Run, part: str) -> None:
    run.send()
    run.until_stored(0.25)
    run.fault()
    run.ground.stack.kill(part)
    run.ground.stack.start(part)


def _kill_line(run: Run, worker: str) -> None:
    """The process that runs the line, whatever started it."""
    [pid] = run.ground.pids(worker)
    run.fault()
    end(pid, signal.SIGKILL)


def _until_second_works(run: Run) -> None:
    """Send on, a few at a time, until the second worker stores too: then both share the partitions."""
    ground, sent = run.ground, 1 - run.left / len(run.lot.parcels)

    def works() -> bool:
        nonlocal sent
        if any(member.fates["stored"] for member in ground.members(SECOND)):
            return True
        if sent < 0.7:  # noqa: PLR2004  the rest is for what comes then
            sent += 0.02
            run.send(sent)
        time.sleep(0.2)
        return False

    ground.wait(works, f"{run.name}: work of the second worker")


SCENARIOS: Final = (
    Scenario("replica-killed", "kill -9 of the Ray Serve replica, mid-batch", SERVE, _replica_killed),
    Scenario("crash-before-commit", "kill -9 between Redis write and commit", SERVE, _crash_before_commit),
    Scenario("triton-killed", "kill -9 of Triton, started again", SERVE, _triton_killed),
    Scenario("model-process-killed", "kill -9 of Triton's model processes alone", SERVE, _model_process_killed),
    Scenario("triton-away", f"Triton away for {AWAY_S:.0f} s", SERVE, _triton_away),
    Scenario("redis-killed", "kill -9 of Redis, started again from its file", SERVE, _redis_killed),
    Scenario("kafka-killed", "kill -9 of Kafka, started again", SERVE, _kafka_killed),
    Scenario("kafka-halted", f"Kafka frozen for {HALTED_S:.0f} s", SERVE, _kafka_halted),
    Scenario("device-cut-off", "kill -9 of Kafka while a device sends", SERVE, _device_cut_off),
    Scenario("store-away", "object store unmounted for 5 s", SERVE, _store_away),
    Scenario("bank-swapped", "a new bank put into service", SERVE, _bank_swapped),
    Scenario("member-joins-and-leaves", "a second worker joins and is drained", SERVE, _second_joins_and_leaves),
    Scenario("replica-drained", "SIGTERM to Ray Serve, mid-flow", SERVE, _replica_drained),
    Scenario("worker-killed", "kill -9 of the plain worker, started again", PLAIN, _worker_killed),
    Scenario("worker-drained", "SIGTERM to the plain worker, mid-flow", PLAIN, _worker_drained),
    Scenario("neighbour-takes-over", "kill -9 of one of two workers", PLAIN, _neighbour_takes_over),
)
"""All drills, in the order that starts the fewest workers."""


def chosen(names: list[str]) -> list[Scenario]:
    """The named ones, or all. Raises ValueError for a name that is none."""
    unknown = sorted(set(names) - {scenario.name for scenario in SCENARIOS})
    if unknown:
        raise ValueError(f"there is no drill {', '.join(unknown)}; there are {', '.join(s.name for s in SCENARIOS)}")
    return [scenario for scenario in SCENARIOS if not names or scenario.name in names]
