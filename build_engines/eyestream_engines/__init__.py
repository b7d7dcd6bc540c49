"""From a published checkpoint to an engine Triton serves: verified, described, reproducible. No worker imports it."""

from __future__ import annotations
