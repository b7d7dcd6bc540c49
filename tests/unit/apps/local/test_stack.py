"""The stack with parts a test can write: what is started, left alone, ended and told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from eyestream.apps.local import Command, Endpoints, Part, PartFailed, Place, Stack
from eyestream.errors import Misconfigured, Unavailable
from eyestream.settings import Settings

SERVER = """
import os, socket, sys
print("serving", flush=True)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        with server.accept()[0] as client:
            client.sendall(b"yes")
"""


class Server(Part):
    """Answers yes on its port; counts its starts in its data."""

    ready_within_s = 20.0
    stops_within_s = 5.0

    def __init__(self, name: str = "server", *, script: str = SERVER, answer: bytes = b"yes", **limits: float) -> None:
        self.name = name
        self.ports: Sequence[str] = (name,)
        self._script = script
        self._answer = answer
        self.ready_within_s = limits.get("ready_within_s", self.ready_within_s)

    def endpoints(self, ports: Mapping[str, int]) -> Mapping[str, str]:
        return {"redis_url": f"redis://127.0.0.1:{ports[self.name]}/0"} if self.name == "server" else {}

    def prepare(self, place: Place) -> None:
        place.say("prepared")
        place.data.mkdir(parents=True, exist_ok=True)
        with (place.data / "starts").open("a") as starts:
            starts.write("x")

    def command(self, place: Place) -> Command:
        return Command([sys.executable, "-I", "-S", "-c", self._script, str(place.ports[self.name])])

    def ready(self, place: Place) -> None:
        try:
            with socket.create_connection(("127.0.0.1", place.ports[self.name]), timeout=1) as client:
                if client.recv(10) != self._answer:
                    raise Unavailable(self.name, "wrong answer")
        except OSError as error:
            raise Unavailable(self.name, str(error)) from error


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    make(tmp_path / "state").down()


def make(state: Path, *parts: Part) -> Stack:
    return Stack(state, model_repository=state, parts=parts or (Server(),))


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def states(stack: Stack) -> dict[str, str]:
    return {part.name: part.state for part in stack.status()}


def test_opening_a_stack_starts_nothing(state: Path):
    assert states(make(state)) == {"server": "stopped"}
    with pytest.raises(Misconfigured, match="eyestream local up"):
        _ = make(state).endpoints


def test_up_returns_once_the_part_was_used_and_down_ends_it(state: Path):
    stack = make(state)
    endpoints = stack.up()
    assert states(stack) == {"server": "running"}
    assert Endpoints.read(state) == endpoints == stack.endpoints
    stack.down()
    assert states(stack) == {"server": "stopped"}
    assert stack.pids("server") == ()
    stack.down()


def test_the_endpoints_are_settings_every_program_of_ours_reads(state: Path, monkeypatch: pytest.MonkeyPatch):
    endpoints = Endpoints(kafka="127.0.0.1:1", redis_url="redis://127.0.0.1:2/0", triton_grpc="127.0.0.1:3")
    for name, value in endpoints.environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka.bootstrap == endpoints.kafka
    assert settings.redis.url.get_secret_value() == endpoints.redis_url
    assert settings.triton.address == endpoints.triton_grpc


def test_a_second_up_leaves_what_works_alone(state: Path):
    first, second = make(state), make(state)
    first.up()
    pids = first.pids("server")
    lines: list[str] = []
    second.up(lambda part, line: lines.append(line))
    assert second.pids("server") == pids
    assert "already running" in lines


def test_a_part_whose_command_changed_is_replaced(state: Path):
    make(state).up()
    before = make(state).pids("server")
    changed = make(state, Server(script=SERVER + "# newer"))
    changed.up()
    assert changed.pids("server") != before
    assert states(changed) == {"server": "running"}


def test_a_part_that_runs_and_does_not_work_is_replaced(state: Path):
    stack = make(state)
    stack.up()
    before = stack.pids("server")
    stack.kill("server", signal=signal.SIGSTOP)
    assert states(stack) == {"server": "not ready"}
    stack.up()
    assert stack.pids("server") != before
    assert states(stack) == {"server": "running"}


def test_a_killed_part_is_told_from_a_stopped_one_and_starts_again_on_its_port(state: Path):
    stack = make(state)
    endpoints = stack.up()
    stack.kill("server")
    assert states(stack) == {"server": "died"}
    with pytest.raises(Misconfigured, match="does not run"):
        stack.kill("server")
    stack.start("server")
    assert states(stack) == {"server": "running"}
    assert stack.endpoints == endpoints
    stack.stop("server")
    assert states(stack) == {"server": "stopped"}
    stack.restart("server")
    assert states(stack) == {"server": "running"}
    assert stack.endpoints == endpoints


def test_a_stack_is_opened_again_as_it_was_started(state: Path, tmp_path: Path):
    with pytest.raises(Misconfigured, match="eyestream local up"):
        Stack.reopen(state)
    Stack(state, model_repository=tmp_path, parts=(Server(),), partitions=7).up()
    reopened = Stack.reopen(state)
    assert reopened.endpoints == make(state).endpoints


@pytest.mark.parametrize("name", ["server", "redis"])
def test_the_status_tells_of_parts_this_stack_was_never_given_too(state: Path, name: str):
    stack = make(state, Server(name))
    stack.up()
    reopened = Stack.reopen(state)
    assert states(reopened) == {name: "running"}
    stack.kill(name)
    assert states(reopened) == {name: "died"}
    stack.down()
    assert states(reopened) == {}


def test_data_survive_unless_fresh(state: Path):
    stack = make(state)
    stack.up()
    stack.down()
    stack.up()
    assert (state / "data" / "server" / "starts").read_text() == "xx"
    stack.up(fresh=True)
    assert (state / "data" / "server" / "starts").read_text() == "x"
    assert states(stack) == {"server": "running"}


def test_parts_start_in_order_and_end_in_reverse(state: Path):
    stack = make(state, Server("one"), Server("two"), Server("three"))
    lines: list[tuple[str, str]] = []
    stack.up(lambda part, line: lines.append((part, line)))
    assert [part for part, line in lines if line == "ready"] == ["one", "two", "three"]
    assert lines.index(("one", "ready")) < lines.index(("two", "starting"))
    lines.clear()
    stack.down(lambda part, line: lines.append((part, line)))
    assert [part for part, line in lines if line == "stopped"] == ["three", "two", "one"]


def test_down_ends_parts_this_stack_was_never_told_of(state: Path):
    stack = make(state, Server("one"), Server("two"))
    stack.up()
    make(state, Server("one")).down()
    assert states(stack) == {"one": "stopped", "two": "stopped"}


def test_a_part_that_ends_while_starting_is_told_with_its_last_words_and_the_others_are_ended(state: Path):
    stack = make(state, Server("good"), Server("bad", script="raise SystemExit('no space left on device')"))
    with pytest.raises(PartFailed) as failure:
        stack.up()
    text = str(failure.value)
    assert "bad is unavailable: it ended while starting" in text
    assert str(stack.log("bad")) in text
    assert "| no space left on device" in text
    assert "free some disk space" in text
    assert states(stack) == {"good": "stopped", "bad": "stopped"}


def test_a_part_that_never_works_is_given_up_with_the_reason(state: Path):
    stack = make(state, Server(answer=b"no", ready_within_s=1.0))
    with pytest.raises(PartFailed, match="not usable after 1 s: server is unavailable: wrong answer"):
        stack.up()
    assert states(stack) == {"server": "stopped"}


def test_a_failed_up_leaves_alone_what_ran_before(state: Path):
    make(state, Server("good")).up()
    before = make(state, Server("good")).pids("good")
    with pytest.raises(PartFailed):
        make(state, Server("good"), Server("bad", script="raise SystemExit(1)")).up()
    assert make(state, Server("good")).pids("good") == before


def test_a_stack_as_context_is_down_after_an_error(state: Path):
    stack = make(state)

    def use_and_fail() -> None:
        with stack:
            stack.up()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        use_and_fail()
    assert states(stack) == {"server": "stopped"}


def test_what_a_killed_run_left_is_ended_by_the_next(state: Path, tmp_path: Path):
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import importlib.util, sys; from pathlib import Path\n"
        f"spec = importlib.util.spec_from_file_location('stack_test', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "slow = module.Server(script='import signal; signal.pause()', ready_within_s=60.0)\n"
        "module.make(Path(sys.argv[1]), slow).up(lambda part, line: print(line, flush=True))\n"
    )
    with subprocess.Popen([sys.executable, str(driver), str(state)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        while run.stdout.readline().strip() != "starting":
            pass
        while not (left := make(state).pids("server")):
            os.sched_yield()
        run.kill()
    lines: list[str] = []
    make(state).up(lambda part, line: lines.append(line))
    assert "stopping what an earlier run left" in lines
    assert not set(left) & set(make(state).pids("server"))
    assert not any(lives(pid) for pid in left)


def test_two_states_side_by_side_do_not_meet(state: Path, tmp_path: Path):
    here, there = make(state), make(tmp_path / "there")
    with here, there:
        assert here.up() != there.up()
        here.kill("server")
        assert states(there) == {"server": "running"}
        here.down()
        assert states(there) == {"server": "running"}


def test_a_second_command_waits_for_the_first_and_says_so(state: Path):
    import fcntl

    stack = make(state)
    state.mkdir(parents=True)
    with (state / "lock").open("w") as holder, contextlib.ExitStack() as held:
        fcntl.flock(holder, fcntl.LOCK_EX)
        held.callback(fcntl.flock, holder, fcntl.LOCK_UN)

        def say(part: str, line: str) -> None:
            if "waiting" in line:
                told.append(part)
                held.close()

        told: list[str] = []
        stack.down(say)
    assert told == ["stack"]


def test_unknown_parts_are_refused_by_name(state: Path):
    with pytest.raises(Misconfigured, match="no part mysql; it has kafka, redis, triton"):
        Stack(state, model_repository=state, parts=("kafka", "mysql"))
    with pytest.raises(Misconfigured, match="no part mysql; it has server"):
        make(state).start("mysql")
    with pytest.raises(Misconfigured, match="never been started"):
        make(state).start("server")


def test_damaged_endpoints_say_what_to_do(state: Path):
    state.mkdir()
    (state / "endpoints.json").write_text(json.dumps({"mysql": 1}))
    with pytest.raises(Misconfigured, match="run `eyestream local up` again"):
        Endpoints.read(state)
