"""`eyestream status` where nothing runs: a part that did not answer is never called well."""

from __future__ import annotations

import json
import socket

import pytest
import typer
from typer.testing import CliRunner

from eyestream.apps.status import status


@pytest.fixture
def told(tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    members = tmp_path / "members"
    members.mkdir()
    (members / "1.json").write_text(json.dumps({"pid": 1, "metrics": f"http://{nobody}/metrics", "started": 0}))
    monkeypatch.setenv("EYESTREAM_KAFKA__BOOTSTRAP", nobody)
    monkeypatch.setenv("EYESTREAM_REDIS__URL", f"redis://{nobody}/0")
    monkeypatch.setenv("EYESTREAM_TRITON__ADDRESS", nobody)
    monkeypatch.setenv("EYESTREAM_BANKS__SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("EYESTREAM_TELEMETRY__MEMBERS", str(members))
    app = typer.Typer()
    app.command()(status)
    done = CliRunner().invoke(app, ["--json"])
    assert done.exit_code == 1
    return {line["part"]: line for line in map(json.loads, done.output.splitlines())}


def test_a_part_that_did_not_answer_is_away(told):
    assert [name for name, line in told.items() if line["well"]] == []
    assert "1 does not answer" in told["workers"]["told"]
    assert "takes a connection (Connection refused)" in told["kafka"]["told"]
