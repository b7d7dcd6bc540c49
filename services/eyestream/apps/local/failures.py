"""How a part's failure is told: its log's last lines and what a person can do about them. Starts and ends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eyestream.apps.local.base import PartFailed

_LARGEST_LOG: Final = 32 * 2**20
_LAST_LINES: Final = 12
_TAIL_BYTES: Final = 64 * 2**10
_START: Final = "=== started"

_ADVICE: Final = (
    ("address already in use", "another program took its port in this moment: run `eyestream local up` again"),
    ("no space left on device", "free some disk space, then run `eyestream local up` again"),
    ("outofmemory", "free some memory (the stack needs about 2 GiB), then run `eyestream local up` again"),
    ("cannot allocate memory", "free some memory (the stack needs about 2 GiB), then run `eyestream local up` again"),
    ("error while loading shared libraries", "run `python3 services/eyestream/apps/local/preflight.py`"),
    (
        "failed to load",
        "the model does not load: correct it in the model repository, then run `eyestream local up` again",
    ),
    ("corrupt", "its data are damaged: `eyestream local up --fresh` starts without them"),
)
_ELSE: Final = (
    "read the log; `eyestream local up` tries again, `eyestream local up --fresh` starts without the old data"
)


def describe(part: str, explanation: str, *, log: Path) -> PartFailed:
    """The failure of a part whose output since its last start is in `log`."""
    lines = last_lines(log)
    said = "\n".join(lines).lower()
    advice = next((advice for sign, advice in _ADVICE if sign in said), _ELSE)
    return PartFailed(part, explanation, log=log, last_lines=lines[-_LAST_LINES:], advice=advice)


def mark_start(log: Path) -> None:
    """Begin a start's output in the log; a log that has grown large is put aside as `<name>.1` first."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_name(log.name + ".1"))
    with log.open("a") as out:
        out.write(f"{_START}\n")


def last_lines(log: Path) -> list[str]:
    """What was logged since the last start, its end at most."""
    try:
        with log.open("rb") as out:
            out.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = out.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    starts = [number for number, line in enumerate(lines) if line == _START]
    return [line for line in lines[starts[-1] + 1 if starts else 0 :] if line.strip()]
