"""eyestream: zero-shot screening of retinal pictures at the scale of a nation."""

from __future__ import annotations

__version__ = "0.1.0"
