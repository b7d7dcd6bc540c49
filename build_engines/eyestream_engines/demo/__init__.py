"""The demo's vision-language model: pictures, towers, training, evaluation. No worker imports it."""

from __future__ import annotations
