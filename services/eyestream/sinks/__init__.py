"""Where results go: the seam, Redis, and memory for tests."""

from __future__ import annotations
