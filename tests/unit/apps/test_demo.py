"""`eyestream demo` when it is ended: whatever ends it, nothing of its stack goes on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eyestream.apps import demo as demo_module
from eyestream.apps.local import Stack
from eyestream.errors import Misconfigured

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Ctrl-C is heard, as at a terminal; a shell's background jobs are born deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_was_started(monkeypatch, tmp_path, number):
    ended = []

    class Stack:
        state = tmp_path

        def __init__(self, *_, **__):
            pass

        def require_own(self, *_):
            pass

        def up(self, *_, **__):
            signal.raise_signal(number)

        def down(self):
            ended.append(True)

    monkeypatch.setattr(demo_module, "Stack", Stack)
    with pytest.raises(KeyboardInterrupt):
        demo_module.demo(state=tmp_path)
    assert ended == [True]


@pytest.mark.parametrize("name", ["data", "pictures"])
def test_a_folder_of_somebody_else_s_is_not_emptied(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "holiday.jpg").write_bytes(b"ours")
    with pytest.raises(Misconfigured, match=f"{name}.* that no local stack made"):
        demo_module.demo(state=tmp_path)
    with pytest.raises(Misconfigured, match="no local stack made") if name == "data" else contextlib.nullcontext():
        Stack(tmp_path, model_repository=ROOT / "model_repository").require_own("data")
    assert (tmp_path / name / "holiday.jpg").read_bytes() == b"ours"
