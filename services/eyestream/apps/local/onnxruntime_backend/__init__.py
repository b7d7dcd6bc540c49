"""Package data for Triton, not for import."""

from __future__ import annotations
