"""Download a checkpoint: `fetch.py URL FILE`, by any URL that fsspec reads."""  # noqa: INP001  # a ConfigMap holds it

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import fsspec

url, file = sys.argv[1:]
with fsspec.open(url, "rb") as source, Path(file).open("wb") as target:
    shutil.copyfileobj(source, target, 8 * 2**20)
