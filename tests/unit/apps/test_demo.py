"""`eyestream demo` when it is ended: whatever ends it, nothing of its stack goes on."""

from __future__ import annotations

import signal

import pytest

from eyestream.apps import demo as demo_module


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_was_started(monkeypatch, tmp_path, number):
    ended = []

    class Stack:
        state = tmp_path

        def __init__(self, *_, **__):
            pass

        def up(self, *_, **__):
            signal.raise_signal(number)

        def down(self):
            ended.append(True)

    monkeypatch.setattr(demo_module, "Stack", Stack)
    with pytest.raises(KeyboardInterrupt):
        demo_module.demo(state=tmp_path)
    assert ended == [True]
