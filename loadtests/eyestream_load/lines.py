"""What Locust's process and a child program say to each other: one JSON object a line, orders in, news out.

Kafka's, Triton's and Redis's clients have threads or a loop of their own, and Locust's process replaces both by its own
kind: so each works in a child program, which loads none of Locust.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from eyestream.errors import EyestreamError

SITE: Final = "load-"
"""What the name of every site of a load test begins with."""
_writing: Final = threading.Lock()


def tell(event: str, **facts: Any) -> None:
    """Say what happened. Any thread may."""
    line = json.dumps({"event": event, **facts})
    with _writing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def read(line: str) -> dict[str, Any]:
    """What one line says."""
    told: dict[str, Any] = json.loads(line)
    return told


def orders() -> Iterator[dict[str, Any]]:
    """What is asked for, in order, until whoever asks is gone or has no more to ask."""
    for line in sys.stdin:
        yield read(line)


def run(program: Callable[[], None]) -> None:
    """The program's whole life: what ends it is said before it ends with exit code 1."""
    try:
        program()
    except EyestreamError as error:
        tell("failed", why=str(error))
        raise SystemExit(1) from None
    except Exception as error:  # told to the parent, which cannot see a traceback here, and raised again
        tell("failed", why=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise
