"""`eyestream-engines fetch` against a server on loopback that speaks the hub's part of HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "c0ffee" + "0" * 34
WEIGHTS = bytes(range(256)) * (24 << 12)
"""24 MiB: the hub's library writes ten at a time."""
GENEROUS = 120


class Handler(BaseHTTPRequestHandler):
    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path.startswith("/api/models/"):
            name = self.path.removeprefix("/api/models/").partition("?")[0]
            card = {"id": name, "sha": COMMIT, "siblings": [], "tags": [], "cardData": {"license": "mit"}}
            self.answer(200, {"Content-Type": "application/json"}, self.hub.card or json.dumps(card).encode())
        elif "/resolve/" in self.path:
            self.hub.tokens.append(("hub", self.headers.get("Authorization")))
            if self.hub.gated:
                self.answer(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "restricted"})
            elif self.hub.missing:
                self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "not found"})
            else:
                place = {
                    "Location": f"http://localhost:{self.hub.port}/store/file",
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-Size": str(self.hub.size),
                    "X-Linked-Etag": f'"{hashlib.sha256(WEIGHTS).hexdigest()}"',
                }
                self.answer(302, place)
        elif self.path.startswith("/store/"):
            self.hub.tokens.append(("store", self.headers.get("Authorization")))
            self.store()
        else:
            self.answer(404, {})

    def store(self):
        asked = self.headers.get("Range")
        self.hub.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(self.hub.sent) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(self.hub.sent) - 1}/{len(self.hub.sent)}")
        self.end_headers()
        until = len(self.hub.sent)
        if start == 0 and self.hub.drop_after is not None:
            until = self.hub.drop_after
        if start == 0 and self.hub.stall_after is not None:
            until = self.hub.stall_after
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.hub.sent[start:until])
            if start == 0 and self.hub.stall_after is not None:
                self.hub.released.wait(GENEROUS)


class Hub:
    """One file of any repository, stored on another host as the real hub's are; its fields are its faults."""

    def __init__(self):
        self.sent = WEIGHTS
        self.size = len(WEIGHTS)
        self.gated = self.missing = False
        self.card = b""
        self.stall_after = None
        self.drop_after = None
        self.ranges = []
        self.tokens = []
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.hub = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.close()


def start(tmp_path, port, *arguments, host="127.0.0.1"):
    told = {
        **os.environ,  # noqa: TID251  # what a child process inherits
        "HF_ENDPOINT": f"http://{host}:{port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_secret",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = [sys.executable, "-m", "eyestream_engines.cli", "fetch", *arguments, "--output", str(tmp_path / "to")]
    return subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fetch(tmp_path, port, *arguments, **endpoint):
    process = start(tmp_path, port, *arguments, **endpoint)
    out, err = process.communicate(timeout=GENEROUS)
    return process.returncode, " ".join(out.split()), " ".join(err.split())


def kept(tmp_path):
    return sorted(path.name for path in (tmp_path / "to").glob("*"))


def test_a_checkpoint_comes_with_its_hash_size_and_licence_and_a_second_fetch_brings_nothing(hub, tmp_path):
    status, out, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 0, err
    assert f"urfound_mm.pth of yyyyk/UrFound at {COMMIT}, {len(WEIGHTS):,} bytes" in out
    assert "its page says mit" in out
    assert f"sha256 {hashlib.sha256(WEIGHTS).hexdigest()}" in out
    assert "this is the hub's word alone" in out
    assert (tmp_path / "to" / "urfound_mm.pth").read_bytes() == WEIGHTS
    assert kept(tmp_path) == ["urfound_mm.pth"]
    assert fetch(tmp_path, hub.port, "urfound")[0] == 0
    assert hub.ranges == [None]


def test_the_token_goes_to_the_hub_and_not_to_where_its_files_are_stored(hub, tmp_path):
    assert fetch(tmp_path, hub.port, "urfound")[0] == 0
    assert set(hub.tokens) == {("hub", "Bearer hf_secret"), ("store", None)}


def test_a_line_that_breaks_is_taken_up_again(hub, tmp_path):
    hub.drop_after = 15 << 20
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 0, err
    assert (tmp_path / "to" / "urfound_mm.pth").read_bytes() == WEIGHTS
    assert hub.ranges[0] is None
    assert hub.ranges[1].startswith("bytes=")


def test_a_fetch_that_was_killed_goes_on_where_it_was(hub, tmp_path):
    hub.stall_after = 22 << 20
    process = start(tmp_path, hub.port, "urfound")
    deadline = time.monotonic() + GENEROUS
    while not any(path.stat().st_size >= 20 << 20 for path in (tmp_path / "to").glob(".*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 1
    assert "another fetch is bringing" in err
    process.kill()
    process.communicate(timeout=GENEROUS)
    assert not (tmp_path / "to" / "urfound_mm.pth").exists()
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 0, err
    assert (tmp_path / "to" / "urfound_mm.pth").read_bytes() == WEIGHTS
    assert hub.ranges == [None, f"bytes={20 << 20}-"]


def test_bytes_that_are_not_those_announced_are_refused_and_removed(hub, tmp_path):
    hub.sent = WEIGHTS[:-1] + b"!"
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 1
    assert hashlib.sha256(hub.sent).hexdigest() in err
    assert "is removed" in err
    assert kept(tmp_path) == []


def test_a_file_whose_published_hash_is_another_is_not_fetched(hub, tmp_path):
    status, _, err = fetch(tmp_path, hub.port, "flair")
    assert status == 1
    assert "050334cd934fa3126435c202c41f493ca222fc3fe3ea9c50cf21f67c792a1440" in err
    assert hub.ranges == []


def test_a_gated_repository_says_where_to_accept_its_terms(hub, tmp_path):
    hub.gated = True
    status, _, err = fetch(tmp_path, hub.port, "retfound-oct")
    assert status == 1
    assert f"open http://127.0.0.1:{hub.port}/YukunZhou/RETFound_mae_natureOCT" in err
    assert "hf auth login" in err
    assert "hf_secret" not in err


def test_a_file_that_moved_is_told(hub, tmp_path):
    hub.missing = True
    status, _, err = fetch(tmp_path, hub.port, "dinoret")
    assert status == 1
    assert "cmerk/dinoret has no dinoret.pth" in err


def test_a_disk_too_small_is_told_before_anything_is_sent(hub, tmp_path):
    hub.size = 1 << 60
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 1
    assert "is full: make room and fetch again" in err
    assert hub.ranges == []


def test_another_file_of_that_name_is_left_alone(hub, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "urfound_mm.pth").write_bytes(b"mine")
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 1
    assert "move it away first" in err
    assert (tmp_path / "to" / "urfound_mm.pth").read_bytes() == b"mine"


def test_no_route_to_the_hub_is_told_with_what_to_do(hub, tmp_path):
    hub.close()
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 1
    assert "the model hub is unavailable" in err
    assert "HF_ENDPOINT" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("host", "port"), [("[hub", 80), ("127.0.0.1", "port")])
def test_an_address_that_is_none_is_told(tmp_path, host, port):
    status, _, err = fetch(tmp_path, port, "urfound", host=host)
    assert status == 1
    assert "HF_ENDPOINT is no address" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("card", [b"<html>log in here</html>", b"[]", b"{}"])
def test_a_login_page_in_the_hubs_place_is_told(hub, tmp_path, card):
    hub.card = card
    status, _, err = fetch(tmp_path, hub.port, "urfound")
    assert status == 1
    assert "not as a hub does: a proxy's login page" in err
    assert "Traceback" not in err


def test_weights_that_are_not_on_the_hub_say_where_they_are(tmp_path):
    status, _, err = fetch(tmp_path, 9, "vilref")
    assert status == 1
    assert "Google Drive" in err
    status, _, err = fetch(tmp_path, 9, "retinavlm")
    assert status == 1
    assert "`eyestream-engines gather retinavlm FOLDER --output FILE`" in err
    status, _, err = fetch(tmp_path, 9, "visionfm-fundus-segmentation")
    assert status == 1
    assert "join both files with `eyestream-engines join`" in err
    status, _, err = fetch(tmp_path, 9, "eyestream-demo")
    assert status == 1
    assert "lie here already: `eyestream-engines build eyestream-demo`" in err
    status, _, err = fetch(tmp_path, 9, "retfound-oct", "--file", "other.pth")
    assert status == 1
    assert "it has: RETFound_mae_natureOCT.pth" in err
