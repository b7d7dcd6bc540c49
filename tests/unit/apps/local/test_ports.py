"""Ports stay the same as long as they can."""

from __future__ import annotations

import socket
from pathlib import Path

from eyestream.apps.local import ports


def listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_each_name_gets_a_port_of_its_own_that_is_free(tmp_path: Path):
    chosen = ports.keep(tmp_path / "ports.json", [f"p{number}" for number in range(20)])
    assert len(set(chosen.values())) == 20
    assert all(ports.is_free(port) for port in chosen.values())


def test_a_free_port_is_kept(tmp_path: Path):
    file = tmp_path / "ports.json"
    assert ports.keep(file, ["kafka", "redis"]) == ports.keep(file, ["kafka", "redis"])


def test_a_port_somebody_else_took_is_replaced_and_the_others_are_kept(tmp_path: Path):
    file = tmp_path / "ports.json"
    before = ports.keep(file, ["kafka", "redis"])
    with listen(before["kafka"]):
        after = ports.keep(file, ["kafka", "redis"])
    assert after["kafka"] != before["kafka"]
    assert after["redis"] == before["redis"]


def test_a_port_our_own_running_part_holds_is_kept(tmp_path: Path):
    file = tmp_path / "ports.json"
    before = ports.keep(file, ["kafka"])
    with listen(before["kafka"]):
        assert ports.keep(file, ["kafka"], in_use=["kafka"]) == before


def test_ports_of_parts_not_asked_for_are_remembered(tmp_path: Path):
    file = tmp_path / "ports.json"
    before = ports.keep(file, ["kafka", "redis"])
    ports.keep(file, ["redis"])
    assert ports.read(file) == before


def test_ports_lie_below_those_of_outgoing_connections(tmp_path: Path):
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chosen = ports.keep(tmp_path / "ports.json", [f"p{number}" for number in range(50)])
    assert all(port < max(lowest, 21_000) for port in chosen.values())


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path):
    file = tmp_path / "ports.json"
    file.write_text("[1, 2")
    assert set(ports.keep(file, ["kafka"])) == {"kafka"}
