from __future__ import annotations

import re
import socket
import sys
import tomllib
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eyestream.apps import web_process, web_serve
from eyestream.apps.web import commands
from eyestream.apps.web_metrics import exposed
from eyestream.apps.web_wiring import CurrentBanks, guard
from eyestream.banks.shelf import Shelf
from eyestream.errors import Misconfigured
from eyestream.settings import Settings
from eyestream.telemetry import WebMetrics
from eyestream.testing.line import MemoryLine
from eyestream.web.keys import KeyFile


@pytest.fixture
def line():
    return MemoryLine()


@pytest.fixture
def shelf(tmp_path, line):
    shelf = Shelf(tmp_path / "shelf")
    publish(shelf, line.banks["demo"])
    return shelf


def publish(shelf, bank):
    shelf.publish(bank.programme, bank.head)
    shelf.activate(bank.programme.name, bank.head.digest)


def test_banks_follow_the_shelf(shelf, line):
    banks = CurrentBanks(shelf, poll_s=1)
    assert banks() == {}
    banks.look()
    assert banks()["demo"].head.digest == line.banks["demo"].head.digest
    other = line.bank(seed=3)
    publish(shelf, other)
    banks.look()
    assert banks()["demo"].head.digest == other.head.digest


def test_a_bank_that_was_altered_leaves_the_one_before_in_its_place(shelf, line, tmp_path, caplog):
    banks = CurrentBanks(shelf, poll_s=1)
    banks.look()
    other = line.bank(seed=3)
    publish(shelf, other)
    [file] = (tmp_path / "shelf" / "heads").glob(f"{other.head.digest}*")
    file.write_bytes(b"altered")
    banks.look()
    assert banks()["demo"].head.digest == line.banks["demo"].head.digest
    assert "bank refused" in caplog.text


def test_a_service_without_protection_listens_on_this_machine_alone():
    guard(Settings(web={"unprotected": True}))
    guard(Settings(web={"unprotected": True, "host": "::1"}))
    for host in ("0.0.0.0", "results.example", "10.0.0.1"):
        with pytest.raises(Misconfigured, match=host):
            guard(Settings(web={"unprotected": True, "host": host}))


def test_nobody_to_be_let_in_is_told_before_anything_listens():
    with pytest.raises(Misconfigured, match="eyestream web key"):
        guard(Settings())


def test_a_key_is_shown_once_and_its_hash_is_what_the_file_needs(tmp_path):
    made = CliRunner().invoke(
        commands, ["key", "ward-7", "--scope", "read", "--scope", "decide", "--expires", "2031-01-02"]
    )
    assert made.exit_code == 0
    key = made.stderr.strip()
    [entry] = tomllib.loads(made.stdout)["key"]
    assert entry["scopes"] == ["read", "decide"]
    assert key not in made.stdout
    file = tmp_path / "keys.toml"
    file.write_text(made.stdout)
    assert KeyFile(file).principal(key).who == "key:ward-7"


def test_keys_are_appended_to_a_file(tmp_path):
    file = tmp_path / "keys.toml"
    keys = []
    for name in ("ward-7", "ward-8"):
        made = CliRunner().invoke(commands, ["key", name, "--scope", "read", "--append-to", str(file)])
        assert (made.exit_code, made.stdout) == (0, "")
        keys.append(made.stderr.strip())
    known = KeyFile(file)
    assert [known.principal(key).who for key in keys] == ["key:ward-7", "key:ward-8"]


@pytest.mark.parametrize("scope", ["everything", "read@Demo"])
def test_a_scope_that_there_is_not_is_refused(scope):
    made = CliRunner().invoke(commands, ["key", "ward-7", "--scope", scope])
    assert made.exit_code == 2
    assert scope in made.stderr


def test_a_key_for_one_programme_is_made_as_it_is_written():
    made = CliRunner().invoke(commands, ["key", "ward-7", "--scope", "read@demo"])
    [entry] = tomllib.loads(made.stdout)["key"]
    assert entry["scopes"] == ["read@demo"]


def test_an_answer_does_not_wait_for_the_readers_acknowledgement():
    """TCP_NODELAY is set on what is accepted only where the listening socket names its protocol."""
    with web_process.listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("run", [web_process.run_alone, web_serve.run_on_serve])
def test_a_port_that_is_taken_is_told_before_anything_starts(run, shared, monkeypatch):
    """`shared` is how another Ray's proxy holds its port: a second one would be let in and get half of the requests."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            run(Settings(web={"unprotected": True, "port": port}), None)


@pytest.fixture
def first():
    """The first of two free ports, one after the other."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
        return port
    raise AssertionError("no two ports in a row are free")


def test_each_process_has_its_figures_at_a_port_that_a_scraper_can_be_told(first, caplog):
    settings = Settings(web={"processes": 2}, telemetry={"metrics_port": first})
    one, other = WebMetrics(), WebMetrics()
    one.streams.set(7)
    other.streams.set(8)
    with ExitStack() as open_:
        ports = [open_.enter_context(exposed(settings, metrics)) for metrics in (one, other)]
        assert ports == [first, first + 1]
        told = [urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode() for port in ports]
        assert ["eyestream_web_event_streams 7.0" in text for text in told] == [True, False]
        assert "eyestream_web_event_streams 8.0" in told[1]
        with pytest.raises(Misconfigured, match=f"metrics_port: 127.0.0.1, from port {first} to {first + 1} all are"):
            open_.enter_context(exposed(settings, WebMetrics()))
        assert open_.enter_context(exposed(settings, WebMetrics(), anywhere=True)) not in ports
        assert "all are taken" in caplog.text
    with exposed(settings, WebMetrics()) as again:
        assert again == first


def test_every_figure_is_in_the_list_that_operators_have():
    page = (Path(__file__).parents[3] / "docs/howto/results-api.md").read_text().split("## Metrics")[1].split("##")[0]
    served = {
        family.name.removeprefix("eyestream_web_") + ("_total" if family.type == "counter" else "")
        for family in WebMetrics().registry.collect()
    }
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == served


def test_where_no_port_is_asked_for_any_is_taken():
    with exposed(Settings(), WebMetrics()) as one, exposed(Settings(), WebMetrics()) as other:
        assert 0 not in {one, other}
        assert one != other


def test_an_address_that_is_not_ours_is_misconfigured():
    settings = Settings(telemetry={"metrics_host": "192.0.2.77", "metrics_port": 9100})
    with pytest.raises(Misconfigured, match=r"cannot be served at 192\.0\.2\.77"), exposed(settings, WebMetrics()):
        pass
