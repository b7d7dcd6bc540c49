"""Shipped for tests: fakes, scripted clocks, rendered eyes, broken pictures, and a contract suite for each seam."""

from __future__ import annotations
