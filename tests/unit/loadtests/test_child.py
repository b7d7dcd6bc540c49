"""Child programs: what they say is heard, and why they ended; and the network that one of them can cut."""

from __future__ import annotations

import pytest

from eyestream.errors import Unavailable
from eyestream_load.cameras import Way
from eyestream_load.child import Child

OPENING = {"scenario": {"programme": "demo"}, "mark": "load-x", "text_tower": "", "folder": "."}


def test_a_child_that_cannot_begin_says_why():
    heard = []
    child = Child("swap", heard.append, OPENING)
    try:
        with pytest.raises(Unavailable, match="name its folder in LOAD_TEXT_TOWER"):
            child.wait_ready()
    finally:
        child.close()
    assert [event["event"] for event in heard] == ["failed"]


def test_a_child_that_ends_by_a_fault_of_its_own_is_heard_of():
    heard = []
    child = Child("swap", heard.append, {"scenario": {}})
    try:
        with pytest.raises(Unavailable, match="KeyError"):
            child.wait_ready()
    finally:
        child.close()
    assert "Traceback" in heard[0]["traceback"]


def test_a_child_that_has_ended_takes_orders_without_harm():
    child = Child("swap", lambda _: None, OPENING)
    with pytest.raises(Unavailable):
        child.wait_ready()
    child.close()
    child.ask({"do": "activate"})


class Wire:
    def __init__(self):
        self.sent, self.closed = [], False

    def connect(self):
        return self

    def send(self, *, key, value, headers, done):
        self.sent.append(key)
        done(None)

    def close(self, *, timeout_s=0.0):
        self.closed = True


def test_a_camera_whose_way_is_cut_finds_no_kafka_until_it_is_mended():
    wire = Wire()
    way = Way(wire)
    transport = way.connect()
    transport.send(key=b"1", value=b"", headers=[], done=lambda _: None)
    way.cut = True
    for attempt in (
        way.connect,
        lambda: transport.send(key=b"2", value=b"", headers=[], done=lambda _: None),
    ):
        with pytest.raises(Unavailable, match="the way to it is cut"):
            attempt()
    way.cut = False
    way.connect().send(key=b"3", value=b"", headers=[], done=lambda _: None)
    transport.close()
    assert wire.sent == [b"1", b"3"]
    assert wire.closed
