"""The script that downloads a checkpoint, run for real against a server of this machine."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading

import pytest
from chartkit import render

SCRIPTS = render.CHART / "files" / "engines"


@pytest.fixture
def web(tmp_path):
    """URL of a folder behind HTTP, with files `whole` and `cut`, which says that it has one byte more than it has."""
    content = b"x" * 100_000

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            there = self.path.partition("?")[0] in {"/whole", "/cut"}
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", str(len(content) + self.path.startswith("/cut") if there else 0))
            self.end_headers()
            self.wfile.write(content if there else b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def download(url, target):
    """The exit code, and what was said. Without site-packages: the image of engines has no client of any store."""
    command = [sys.executable, "-S", str(SCRIPTS / "fetch.py"), url, str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_checkpoint_is_downloaded_over_http_with_nothing_but_python(web, tmp_path):
    assert download(f"{web}/whole?signature=secret", tmp_path / "target") == (0, "")
    assert (tmp_path / "target").stat().st_size == 100_000


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("cut", "it ended 1 bytes early"),
        ("absent", "HTTP Error 404"),
    ],
)
def test_a_download_that_fails_says_why_and_tells_no_signature(web, tmp_path, what, says):
    code, said = download(f"{web}/{what}?signature=secret", tmp_path / "target")
    assert code == 1
    assert said.startswith(f"eyestream: http://127.0.0.1/{what} cannot be downloaded: ")
    assert says in said
    assert "secret" not in said
    assert "Traceback" not in said


def test_a_store_whose_package_the_image_has_not_is_said_to_need_one(tmp_path):
    code, said = download("s3://bucket/model.pt", tmp_path / "target")
    assert code == 1
    assert said.startswith("eyestream: s3://bucket/model.pt needs a package that images.engines has not: ")


def test_the_download_writes_the_whole_file(tmp_path):
    source = tmp_path / "checkpoint"
    source.write_bytes(b"x" * 100_000)
    target = tmp_path / "target"
    command = [sys.executable, str(SCRIPTS / "fetch.py"), f"file://{source}", str(target)]
    assert subprocess.run(command, check=False).returncode == 0
    assert target.read_bytes() == source.read_bytes()
