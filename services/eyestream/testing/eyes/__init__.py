"""Rendered eyes: fundus photographs drawn from a description, for tests and demos; they hold nothing of a real eye."""

from __future__ import annotations

from eyestream.testing.eyes.captions import captions
from eyestream.testing.eyes.eye import FAULTS, FINDINGS, Eye, random_eye
from eyestream.testing.eyes.render import render, save_jpeg

__all__ = ["FAULTS", "FINDINGS", "Eye", "captions", "random_eye", "render", "save_jpeg"]
