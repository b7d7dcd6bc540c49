"""What `locust -f` is given: the users of `eyestream_load`. docs/howto/load-tests.md says how to run it."""

from __future__ import annotations

from eyestream_load.hooks import Shape, listen
from eyestream_load.users import BankSwapper, Camera, Reader, TritonClient

__all__ = ["BankSwapper", "Camera", "Reader", "Shape", "TritonClient"]

listen()
