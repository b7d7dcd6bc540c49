"""How the tests come by their browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from eyestream.apps.local import chromium
from eyestream.errors import Misconfigured


def test_a_package_that_is_not_the_tested_one_is_refused_and_nothing_of_it_stays(
    axe_source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name, _ = chromium.AXE
    monkeypatch.setattr(chromium, "AXE", (name, "0" * 64))
    with pytest.raises(Misconfigured, match="is not the one that was tested"):
        chromium.axe(cache=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
