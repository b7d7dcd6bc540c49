"""Pixels to vectors: see base for the seam, triton for the served engine, fake for tests."""

from __future__ import annotations
