"""The load tests' package lies on a shelf of its own; nothing of it that these tests import loads Locust."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "loadtests"))
